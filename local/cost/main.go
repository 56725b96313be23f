// Command cost computes the tables in docs/scale.md: what the stack costs, which limits it
// reaches at which rate, and what happens when many users come at once. Run it in the root
// of the repository.
//
//	go run ./local/cost            print the tables
//	go run ./local/cost -update    write them into the documents
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
)

// documents are the files with the tables, by language.
var documents = [languages]string{"docs/scale.md", "docs/zh-CN/scale.md"}

func main() {
	update := flag.Bool("update", false, "write the tables into the documents")
	flag.Parse()
	if err := run(*update); err != nil {
		fmt.Fprintln(os.Stderr, "cost:", err)
		os.Exit(1)
	}
}

func run(update bool) error {
	template, err := os.ReadFile("template.yaml")
	if err != nil {
		return err
	}
	tables := compute(count(string(template)))
	if !update {
		for _, t := range tables {
			fmt.Printf("%s\n\n%s\n", t.name, t.markdown(english))
		}
		return nil
	}
	for language, path := range documents {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		written, err := insert(string(text), tables, language)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := os.WriteFile(path, []byte(written), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// insert puts each table between its markers, <!-- cost NAME --> and <!-- /cost -->.
func insert(document string, tables []table, language int) (string, error) {
	for _, t := range tables {
		begin, end := "<!-- cost "+t.name+" -->\n", "<!-- /cost -->"
		before, rest, found := strings.Cut(document, begin)
		_, after, ended := strings.Cut(rest, end)
		if !found || !ended {
			return "", fmt.Errorf("there is no place for the table %q", t.name)
		}
		document = before + begin + t.markdown(language) + end + after
	}
	return document, nil
}
