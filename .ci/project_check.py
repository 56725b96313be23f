"""Checks the files around the code against what they are about: CONTRIBUTING's table of
dependencies, the functions in .goreleaser.yaml, the parts that CI runs, the pins of
actions, that what deploys does not build, and that the dev container's file is JSON.

    python3 .ci/project_check.py
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def go(*arguments):
    return subprocess.run(["go", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def dependencies():
    """The direct dependencies and who carries them are those of CONTRIBUTING's table."""
    required = json.loads(go("mod", "edit", "-json"))["Require"]
    carriers = {module["Path"]: [] for module in required if not module.get("Indirect")}
    for carrier, packages in {"functions": "./functions/...", "tool": "./cmd/...", "local": "./local"}.items():
        for module in set(go("list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", packages).split()):
            if module in carriers:
                carriers[module].append(carrier)
    for module in set(go("list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./examples/...").split()):
        if carriers.get(module) == []:
            carriers[module] = ["examples"]
    for name in ("CONTRIBUTING.md", "CONTRIBUTING.zh-CN.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        rows = re.findall(r"^\| `([^`]+\.[^`]+/[^`]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", text, re.M)
        written = {module: re.findall(r"`(\w+)`", carrier) for module, carrier, _, _ in rows}
        if len(rows) != len(written):
            yield f"{name}: a module has two rows"
        for module in carriers.keys() - written.keys():
            yield f"{name}: {module} has no row: why is it needed, and what does it cost?"
        for module in written.keys() - carriers.keys():
            yield f"{name}: {module} is no direct dependency"
        for module in carriers.keys() & written.keys():
            if written[module] != (carriers[module] or ["tests"]):
                yield f"{name}: {module} is in {carriers[module] or ['tests']}, not in {written[module]}"


def release():
    """Each function is built and archived as the Makefile does it."""
    config = yaml.safe_load((ROOT / ".goreleaser.yaml").read_text(encoding="utf-8"))
    functions = sorted(folder.name for folder in (ROOT / "functions").iterdir() if folder.is_dir())
    flags = re.search(r"^FLAGS := (.*) -tags (\S+) -ldflags \"(.*)\"$", (ROOT / "Makefile").read_text(), re.M)
    builds = {build["id"]: build for build in config["builds"] if build["id"] != "tool"}
    archives = {archive["id"]: archive for archive in config["archives"] if archive["id"] != "tool"}
    if sorted(archives.pop("stack")["ids"]) != functions:
        yield f".goreleaser.yaml: the archive for sam deploy has not exactly the functions {functions}"
    if sorted(builds) != functions or sorted(archives) != functions:
        yield f".goreleaser.yaml has not exactly the functions {functions}"
        return
    for name in functions:
        build, archive = builds[name], archives[name]
        if (build["flags"], build["tags"], build["ldflags"]) != (flags[1].split(), [flags[2]], [flags[3]]):
            yield f".goreleaser.yaml: {name} is not built with the Makefile's flags"
        if build["main"] != f"./functions/{name}" or archive["ids"] != [name] or not archive["name_template"].startswith(name + "_"):
            yield f".goreleaser.yaml: {name}'s build or archive is another function's"
        if build["binary"] != "".join(map(str.capitalize, name.split("-"))) + "Function/bootstrap" or not archive["strip_binary_directory"]:
            yield f".goreleaser.yaml: {name} is not in the folder that the template names, or not at the root of its zip"


def workflows():
    parts = re.search(r"^parts=\((.*)\)$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.M)[1].split()
    ci = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    if ci["jobs"]["part"]["strategy"]["matrix"]["part"] != parts:
        yield f"ci.yml has not the parts of .ci/run: {parts}"
    for file in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        for action, comment in re.findall(r"uses: (\S+)(.*)", file.read_text(encoding="utf-8")):
            if not action.startswith("./") and not (re.search(r"@[0-9a-f]{40}$", action) and re.match(r" # v\d", comment)):
                yield f"{file.name}: {action} is not pinned by commit, with its version as a comment"
    deploy = yaml.safe_load((ROOT / ".github" / "workflows" / "deploy.yml").read_text(encoding="utf-8"))
    for name, job in deploy["jobs"].items():
        steps = " ".join(step.get("uses", "") + " " + step.get("run", "") for step in job["steps"])
        if "id-token" in job["permissions"] and re.search(r"setup-go@|\b(sam build|go|make|npm)\b", steps):
            yield f"deploy.yml: {name} builds, and can ask for the identity that deploys"


def dev_container():
    try:
        json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    except ValueError as err:
        yield f"devcontainer.json: {err}"


if __name__ == "__main__":
    faults = [fault for check in (dependencies, release, workflows, dev_container) for fault in check()]
    print(*(f"FAIL {fault}" for fault in faults), f"project: {len(faults)} faults", sep="\n")
    sys.exit(bool(faults))
