package main

import (
	"bytes"
	"os"
	"testing"
)

func TestTheFileIsCurrent(t *testing.T) {
	want, err := compute("../..")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../" + file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what ships: run go run ./local/notices -update", file)
	}
}

func TestRecognise(t *testing.T) {
	for body, want := range map[string]string{
		"Apache License\n   Version 2.0, January 2004\n":                                                                                                       "Apache-2.0",
		"Permission is hereby granted, free of charge,\nto any person obtaining a copy":                                                                        "MIT",
		"Permission is hereby granted, free of charge, to use the marks":                                                                                       "",
		"GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007":                                                                                                  "",
		"This software is licensed under the Apache License":                                                                                                   "",
		"Redistribution and use in source and binary forms, with or without\nmodification, are permitted":                                                      "BSD-2-Clause",
		"Redistribution and use in source and binary forms, with or without modification, are permitted …\nmay be used to endorse or promote products derived": "BSD-3-Clause",
	} {
		if got := recognise(body); got != want {
			t.Errorf("%q is recognised as %q, want %q", body, got, want)
		}
	}
}
