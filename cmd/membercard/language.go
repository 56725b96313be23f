package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// language is that of messages, tables and help. JSON is always in English.
type language string

const (
	inEnglish language = "en"
	inChinese language = "zh-CN"
)

// languageOf returns the language of the environment, as POSIX has it.
func languageOf() (l language) {
	_ = l.Set(cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LC_MESSAGES"), os.Getenv("LANG"))) // of others, English
	return l
}

// Set sets the language to that of a locale, such as zh-CN, zh_CN.UTF-8 or en.
func (l *language) Set(locale string) error {
	switch {
	case strings.HasPrefix(locale, "zh"):
		*l = inChinese
	case strings.HasPrefix(locale, "en"):
		*l = inEnglish
	default:
		return errors.New("the languages are zh-CN and en")
	}
	return nil
}

// find sets the language to that of --lang, which counts also behind a flag that is wrong.
func (l *language) find(args []string) {
	for i, arg := range args {
		if name, value, ok := strings.Cut(arg, "="); name == "--lang" && ok {
			_ = l.Set(value) // what is no language, cobra refuses
		} else if name == "--lang" && i+1 < len(args) {
			_ = l.Set(args[i+1])
		}
	}
}

func (l *language) String() string { return string(*l) }

// Type is what pflag calls the value.
func (l *language) Type() string { return "language" }

// text returns what the help says of a command or flag, in the reader's language.
func (a *app) text(english, chinese string) string {
	if a.lang == inChinese {
		return chinese
	}
	return english
}

// tr translates a message, which may be put together. What the catalogue does not have stays.
func (l language) tr(text string) string {
	if l == inChinese {
		return translator{}.translate(text).text
	}
	return text
}

// A translation is a text in Chinese. It is whole if nothing of it stayed as it was but names.
type translation struct {
	text  string
	whole bool
}

// translator has the translations that it made.
type translator map[string]translation

func (t translator) translate(text string) translation {
	if _, done := t[text]; !done {
		t[text] = t.find(text)
	}
	return t[text]
}

// find translates a text that may be put together of entries of the catalogue: the longest
// that matches counts, and the values in it are translated in turn. A value without a blank is
// a name, such as a path or a command, and stays. A short entry counts only if the translation is whole,
// for other texts have its few letters too.
func (t translator) find(text string) (found translation) {
	if chinese, ok := chinese[text]; ok || !strings.Contains(text, " ") {
		return translation{cmp.Or(chinese, text), true}
	}
	var matching []string
	for english := range chinese {
		if valuesIn(text, english) != nil {
			matching = append(matching, english)
		}
	}
	slices.SortFunc(matching, func(a, b string) int {
		return cmp.Or(cmp.Compare(letters(b), letters(a)), strings.Compare(a, b))
	})
	for _, english := range matching {
		values, whole := valuesIn(text, english), true
		for i, value := range values {
			if strings.Contains(value.(string), " ") { // without a blank it is a name
				part := t.translate(value.(string))
				values[i], whole = part.text, whole && part.whole
			}
		}
		if whole || found.text == "" && letters(english) >= 10 {
			found = translation{fmt.Sprintf(chinese[english], values...), whole}
		}
		if whole {
			return found
		}
	}
	if line, rest, ok := strings.Cut(text, "\n"); found.text == "" && ok {
		found.text = t.translate(line).text + "\n" + t.translate(rest).text
	}
	return translation{cmp.Or(found.text, text), isCommand.MatchString(text)}
}

// isCommand is how a command begins that a cure ends with.
var isCommand = regexp.MustCompile(`^(\S*membercard|aws|sam|openssl) `)

// letters is how long an entry is without its values.
func letters(entry string) int { return len(strings.ReplaceAll(entry, "%s", "")) }

// valuesIn returns what stands in a text for each %s of an entry, or nil if it is another
// text.
func valuesIn(text, entry string) (values []any) {
	begin, rest, ok := strings.Cut(entry, "%s")
	if text, found := strings.CutPrefix(text, begin); ok && found {
		parts := strings.Split(rest, "%s")
		for _, part := range parts[:len(parts)-1] {
			value, after, found := strings.Cut(text, part)
			if !found {
				return nil
			}
			values, text = append(values, value), after
		}
		if value, found := strings.CutSuffix(text, parts[len(parts)-1]); found {
			return append(values, value)
		}
	}
	return nil
}

// translate puts a command of cobra's own, and those below it, into the language.
func (l language) translate(cmd *cobra.Command) {
	cmd.Short, cmd.Long = l.tr(cmd.Short), l.tr(cmd.Long)
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { f.Usage = l.tr(f.Usage) })
	for _, below := range cmd.Commands() {
		l.translate(below)
	}
}

// headings are those of cobra.
var headings = strings.NewReplacer("Usage:", "用法：", "Examples:", "示例：", "Available Commands:", "命令：", "Global Flags:", "通用选项：", "Flags:", "选项：",
	`Use "{{.CommandPath}} [command] --help" for more information about a command.`, `{{.CommandPath}} <命令> --help 显示某个命令的说明。`)
