// A page of ten lines, with the package as npm installs it, in a real browser against the
// local stack. The page has an origin of its own, which -origins allows.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { chromium } from "playwright-core";

const { API_URL: api, ORIGIN: origin, PACKAGE: folder } = process.env;

const tenLines = `<!doctype html>
<meta charset="utf-8">
<p id="shown">…</p>
<script type="module">
  import { Membercard } from "./membercard/index.js";
  const membercard = new Membercard({ api: "${api}" });
  const shown = document.getElementById("shown");
  membercard
    .brandToken({ brand_id: "1004", card_id: location.hash.slice(1), openid: "obLatjnx9gnqzS4myYGmLZ7LgLBA" })
    .then(({ token }) => (shown.textContent = "token " + token), (error) => (shown.textContent = error.words("zh-CN")));
</script>`;

test("a page of ten lines gets a token, and words where it does not", async (t) => {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-features=LocalNetworkAccessChecks"] /* a page that a test serves has no address on loopback */ });
  t.after(() => browser.close());
  const tab = await browser.newPage();
  await tab.route(`${origin}/ten.html`, (route) => route.fulfill({ contentType: "text/html; charset=utf-8", body: tenLines }));
  await tab.route(`${origin}/membercard/*`, async (route) =>
    route.fulfill({ contentType: "text/javascript; charset=utf-8", body: await readFile(`${folder}/${new URL(route.request().url()).pathname.split("/").pop()}`) }),
  );
  for (const [card, shown] of [["pbLatjvWOibDc5-TBnbUk1pD12o0", /^token \S{10,}/], ["no card!", /^请求内容有误/]]) {
    await tab.goto("about:blank");
    await tab.goto(`${origin}/ten.html#${encodeURIComponent(card)}`);
    await tab.waitForFunction(() => document.getElementById("shown").textContent !== "…");
    assert.match(await tab.textContent("#shown"), shown);
  }
});
