# What `sam build` runs, once a function: make build-<logical ID>, in the folder
# architecture/<Architecture>, whose goarch.mk says what to build for. Run by
# hand at the root it builds for this machine, or for GOARCH.

ROOT := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
FLAGS := -trimpath -buildvcs=false -tags lambda.norpc -ldflags "-s -w"

-include goarch.mk

# MerchantTokenFunction is built from functions/merchant-token.
folder = $(shell echo $* | sed 's/\([a-z0-9]\)\([A-Z]\)/\1-\2/g' | tr A-Z a-z)

build-%Function:
	$(if $(ARTIFACTS_DIR),,$(error ARTIFACTS_DIR is where bootstrap goes; sam build sets it))
	CGO_ENABLED=0 GOOS=linux GOARCH=$(GOARCH) go build -C "$(ROOT)" $(FLAGS) -o "$(abspath $(ARTIFACTS_DIR))/bootstrap" ./functions/$(folder)
