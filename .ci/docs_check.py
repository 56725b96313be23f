"""Compares the English and the Chinese documentation: every page exists in both
languages, with the same headings, commands, diagrams and tables. Checks that
relative links lead to files and headings that exist, so do the files that a table names
in a folder, that the README links every page, and that a secret has one name in Chinese.

    python3 .ci/docs_check.py [root]
"""

import json
import re
import sys
import unicodedata
from pathlib import Path

CODE = re.compile(r"`([^`]+)`")
IMAGE = re.compile(r"!\[([^\]]*)\]")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
TEXT = re.compile(r"[\u2e80-\u9fff\uff00-\uffef]")  # Chinese characters and punctuation


class Page:
    """The structure of a Markdown page."""

    def __init__(self, path):
        self.headings = []  # (level, text)
        self.blocks = []  # (language, [line])
        self.tables = []  # [[cell]], without the delimiter row
        self.prose = []
        block, table, fence = None, None, ""
        for line in path.read_text(encoding="utf-8").splitlines():
            if opened := re.match(r"( *)(```+)(\w*)$", line):
                if block is None:
                    block, fence, indent = [], opened[2], len(opened[1])
                    if opened[3]:  # without a language it is output, in the language of the page
                        self.blocks.append((opened[3], block))
                elif opened[2] == fence and not opened[3]:
                    block = None
                continue
            if block is not None:
                block.append(line[indent:])
                continue
            self.prose.append(line)
            if heading := re.match(r"(#+) (.*)", line):
                self.headings.append((len(heading[1]), heading[2]))
            if not line.startswith("|"):
                table = None
                continue
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if table is None:
                table = []
                self.tables.append(table)
            if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                table.append(cells)

    def levels(self):
        return [level for level, _ in self.headings]

    def anchors(self):
        """The headings' anchors, as GitHub makes them."""
        found = []
        for _, text in self.headings:
            text = text.replace("`", "").lower()
            kept = (c for c in text if c in "-_ " or unicodedata.category(c)[0] in "LN")
            anchor = "".join(kept).replace(" ", "-")
            again = sum(1 for other in found if re.fullmatch(re.escape(anchor) + r"(-\d+)?", other))
            found.append(f"{anchor}-{again}" if again else anchor)
        return found

    def links(self):
        return [link for line in self.prose for link in LINK.findall(re.sub(r"`[^`]*`", "", line))]


def shape(block):
    """What a code block must have in common with its translation: a command without
    comments, a diagram's nodes and edges, JSON with its Chinese text left out."""
    language, lines = block
    if language == "sh":
        return language, [re.sub(r"(^|\s+)# .*$", "", line).rstrip() for line in lines]
    if language == "mermaid":
        sequence = lines[0] == "sequenceDiagram"
        text = r"(?<=: ).*|(?<= as ).*" if sequence else r'"[^"]*"|\|[^|]*\||-\. .* \.->'
        return language, [re.sub(text, "", line) for line in lines]
    if language == "json":
        return language, keys(json.loads("\n".join(lines)))
    return language, lines


def keys(value):
    if isinstance(value, dict):
        return {name: keys(member) for name, member in value.items()}
    if isinstance(value, list):
        return [keys(item) for item in value]
    return None if isinstance(value, str) and re.search("…|" + TEXT.pattern, value) else value


def compare(name, english, chinese):
    faults = []
    if english.levels() != chinese.levels():
        faults.append(f"{name}: headings have the levels {english.levels()}, in Chinese {chinese.levels()}")
    if len(english.blocks) != len(chinese.blocks):
        faults.append(f"{name}: {len(english.blocks)} code blocks, in Chinese {len(chinese.blocks)}")
    for i, (one, other) in enumerate(zip(english.blocks, chinese.blocks), 1):
        if shape(one) != shape(other):
            faults.append(f"{name}: code block {i} differs: {shape(one)}, in Chinese {shape(other)}")
    if len(english.tables) != len(chinese.tables):
        faults.append(f"{name}: {len(english.tables)} tables, in Chinese {len(chinese.tables)}")
    for i, (one, other) in enumerate(zip(english.tables, chinese.tables), 1):
        if [len(row) for row in one] != [len(row) for row in other]:
            faults.append(f"{name}: table {i} has {len(one)} rows, in Chinese {len(other)}, or cells are missing")
            continue
        for row, (a, b) in enumerate(zip(one, other), 1):
            if sorted(CODE.findall(a[0])) != sorted(CODE.findall(b[0])):
                faults.append(f"{name}: table {i}, row {row} is about {a[0]}, in Chinese about {b[0]}")
    return faults


def check_links(path, pages, root):
    text = "\n".join(pages[path].prose)
    faults = [f"{path.relative_to(root)}: a picture without a text for those who don't see it" for alt in IMAGE.findall(text) if not alt]
    for link in pages[path].links():
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if root not in target.parents or not target.exists():
            faults.append(f"{path.relative_to(root)}: {link} leads nowhere")
        elif anchor and (target not in pages or anchor not in pages[target].anchors()):
            faults.append(f"{path.relative_to(root)}: {link}: there is no such heading")
    return faults


def check_files(path, page, root):
    """A table's row about a folder names files that are in it."""
    for row in (row for table in page.tables for row in table):
        for folder in re.findall(r"`([\w./-]+/)`", row[0]):
            if missing := [file for file in re.findall(r"`(\w+\.(?:go|json))`", " ".join(row[1:])) if not (root / folder / file).exists()]:
                yield f"{path.relative_to(root)}: {folder} has no {', '.join(missing)}"


def check_history(name, page):
    """No command has a secret in it: a shell keeps its commands."""
    for command in re.findall(r"^.*(?:--secret-string (?!file://)|(?:echo|printf)(?: %s)? ['\"]?[0-9A-Za-z]{32}\b).*$", page, re.M):
        yield f"{name} puts a secret into the shell's history: {command.strip()}"


def check_words(name, page):
    """A secret is 凭据: what is called 密钥 is the APIv3 key, a key of KMS or RSA, or a quotation."""
    for found in re.finditer(r".{0,10}(?<!APIv3)(?<!KMS )(?<!kms-)(?<!RSA )(?<!“)密钥(?!策略|自检).{0,10}", page):
        yield f"{name} says 密钥 and does not say which: {found[0]}"


def check(root):
    top, docs = ["README", "CONTRIBUTING", "SECURITY", "clients/js/README"], sorted((root / "docs").glob("*.md"))
    english = [*(root / f"{name}.md" for name in top), *docs]
    chinese = [*(root / f"{name}.zh-CN.md" for name in top), *(root / "docs" / "zh-CN" / path.name for path in docs)]
    faults = [f"{path.relative_to(root)} is missing" for path in english + chinese if not path.exists()]
    extra = set((root / "docs" / "zh-CN").glob("*.md")) - set(chinese)
    faults += [f"{path.relative_to(root)} has no English page" for path in sorted(extra)]
    pages = {path: Page(path) for path in english + chinese if path.exists()}
    for one, other in zip(english, chinese):
        if one in pages and other in pages:
            faults += compare(one.relative_to(root), pages[one], pages[other])
    for path in pages:
        faults += [*check_links(path, pages, root), *check_files(path, pages[path], root)]
        text = path.read_text(encoding="utf-8")
        faults += [*check_history(path.relative_to(root), text), *check_words(path.relative_to(root), text)]
    for path in [root / "examples/h5/index.html", root / "examples/h5/words.js"]:  # what the sample page says
        faults += check_words(path.relative_to(root), path.read_text(encoding="utf-8"))
    for readme, others in ((english[0], english[1:]), (chinese[0], chinese[1:])):
        if readme in pages:
            linked = {(root / link.partition("#")[0]).resolve() for link in pages[readme].links()}
            faults += [f"{readme.name} does not link {path.relative_to(root)}" for path in others if path not in linked]
    return faults, len(pages)


if __name__ == "__main__":
    faults, pages = check(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve())
    print(*(f"FAIL {fault}" for fault in faults), f"docs: {pages} pages, {len(faults)} faults", sep="\n")
    sys.exit(1 if faults or pages < 4 else 0)
