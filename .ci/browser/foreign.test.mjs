// Pages that the operator may open by chance, in Chromium, against the local stack with
// -auth none: with the sandboxes, and with a real merchant's keys (made up here, and
// WeChat can't be reached). The first page is of another origin. The name of the second
// leads to its own server at first, and to the stack's port once it is loaded: DNS
// rebinding. Neither gets anything done.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { rmSync, mkdtempSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { chromium } from "playwright-core";

const flags = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";
const card = "/v3/marketing/membercard-open/cards/pbLatjvWOibDc5-TBnbUk1pD12o0";
const posted = `${card}/permission-tokens`;
const read = `${card}/decrypt-code?encrypt_code=ENCRYPT_CODE`;
const body = '{"activate_type":"AUTO_ACTIVATE"}';

/** @type {import("playwright-core").Browser} */
let browser;
let foreign; // the origin of other pages
let dials = 0; // connections that functions open to WeChat
const dir = mkdtempSync(join(tmpdir(), "membercard-"));
const proxy = net.createServer((connection) => (dials++, connection.on("error", () => {}).destroy()));
let rebound = 0; // the port that connections to rebind.example lead to; 0: its own server
const rebind = net.createServer((connection) => {
  connection.on("error", () => {});
  if (rebound) {
    const stack = net.connect(rebound, "127.0.0.1").on("error", () => connection.destroy());
    connection.pipe(stack).pipe(connection);
  } else {
    connection.once("data", () => connection.end("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<!doctype html><link rel=icon href=data:,><title>lure</title><body>"));
  }
});
const elsewhere = http.createServer((_, response) => response.setHeader("Content-Type", "text/html").end("<!doctype html><title>elsewhere</title>"));

before(async () => {
  for (const server of [proxy, rebind, elsewhere]) await once(server.listen(0, "127.0.0.1"), "listening");
  foreign = `http://foreign.example:${elsewhere.address().port}`;
  const names = `--host-resolver-rules=MAP foreign.example 127.0.0.1, MAP rebind.example 127.0.0.1:${rebind.address().port}`;
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", headless: true, args: [...flags.split(" "), names] });
});
after(async () => {
  await browser?.close();
  for (const server of [proxy, rebind, elsewhere]) server.close();
  rmSync(dir, { recursive: true });
});

/** A merchant's secret with keys that no merchant has. */
function madeUpMerchant() {
  const keys = () => generateKeyPairSync("rsa", { modulusLength: 2048, privateKeyEncoding: { type: "pkcs8", format: "pem" }, publicKeyEncoding: { type: "spki", format: "pem" } });
  const file = join(dir, "secret.json");
  writeFileSync(file, JSON.stringify({
    mchid: "1900000001", certificate_serial_no: "1DDE55AD98E30512BC4A7C2B1B6F5A3E90D7C1F2", private_key: keys().privateKey,
    wechatpay_public_key_id: "PUB_KEY_ID_0119000000012024000000000001", wechatpay_public_key: keys().publicKey,
  }), { mode: 0o600 });
  return file;
}

/** Starts a stack, and waits until it has printed everything. */
async function start(...args) {
  const child = spawn(process.env.LOCAL, ["-addr", "127.0.0.1:0", "-page", "127.0.0.1:0", ...args], {
    stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, HTTPS_PROXY: `http://127.0.0.1:${proxy.address().port}`, NO_PROXY: "" },
  });
  const stack = { child, out: "", log: "" };
  child.stdout.on("data", (text) => (stack.out += text));
  child.stderr.on("data", (text) => (stack.log += text));
  const ended = once(child, "exit");
  stack.stop = async () => (child.kill(), await ended);
  while (!/^playground: .*\n/m.test(stack.out)) {
    assert.equal(child.exitCode, null, stack.log);
    await new Promise((then) => setTimeout(then, 50));
  }
  stack.api = /^membercard runs at (.*)$/m.exec(stack.out)[1];
  stack.page = /^playground: (.*)$/m.exec(stack.out)[1];
  return stack;
}

/** What the log says since a length: requests that were refused, and the functions' records. The stack itself renews the card ticket. */
function since(stack, length) {
  const lines = stack.log.slice(length).split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  return {
    refused: lines.filter((line) => line.msg === "request refused"),
    invocations: lines.filter((line) => line.Function && line.Function !== "CardExtFunction"),
  };
}

/** Waits until a function returns something. */
async function until(what, get) {
  for (let i = 0; i < 200; i++) {
    const got = await get();
    if (got) return got;
    await new Promise((then) => setTimeout(then, 50));
  }
  assert.fail(`in vain: ${what}`);
}

// What a page tries. Each returns what the page got to know.
const attempts = {
  "fetch of text/plain": (url, body) => fetch(url, { method: "POST", headers: { "Content-Type": "text/plain" }, body }).then((r) => r.text(), (e) => e.name),
  "fetch of JSON": (url, body) => fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body }).then((r) => r.text(), (e) => e.name),
  "fetch without CORS": (url, body) => fetch(url, { method: "POST", mode: "no-cors", headers: { "Content-Type": "text/plain" }, body }).then((r) => r.text(), (e) => e.name),
  "a beacon": (url, body) => (navigator.sendBeacon(url, body), ""),
  "a form": async (url, body) => {
    const target = `frame-${document.forms.length}`;
    const form = Object.assign(document.createElement("form"), { method: "POST", action: url, enctype: "text/plain", target });
    const [name, value] = body.split(":");
    form.append(Object.assign(document.createElement("input"), { name: `${name}:"`, value: value.slice(1) }));
    document.body.append(Object.assign(document.createElement("iframe"), { name: target }), form);
    form.submit();
    return "";
  },
};
const readings = {
  "an image": (url) => new Promise((then) => Object.assign(new Image(), { onload: () => then("loaded"), onerror: () => then(""), src: url })),
  "a script": (url) => new Promise((then) => document.head.append(Object.assign(document.createElement("script"), { onload: () => then("loaded"), onerror: () => then(""), src: url }))),
  "a frame": (url) => (document.body.append(Object.assign(document.createElement("iframe"), { src: url })), ""),
  "a window": (url) => (window.open(url), ""),
  "GET": (url) => fetch(url).then((r) => r.text(), (e) => e.name),
  "GET without CORS": (url) => fetch(url, { mode: "no-cors" }).then((r) => r.text(), (e) => e.name),
};

/** Has a page try everything at a server. What it may see is a refusal, if it has the server's origin. */
async function attack(stack, tab, posts, gets, sees) {
  for (const [tries, urls] of [[attempts, posts], [readings, gets]]) {
    for (const [name, attempt] of Object.entries(tries)) {
      for (const url of urls) {
        const before = stack.log.length;
        const saw = await tab.evaluate(`(${attempt})(${JSON.stringify(url)}, ${JSON.stringify(body)})`);
        const [refused] = await until(`${name} of ${url} reached the server`, () => since(stack, before).refused.length && since(stack, before).refused);
        assert.equal(refused.status, 403);
        assert.ok(["", "TypeError"].includes(saw) || (sees && JSON.parse(saw).code === "FOREIGN_HOST"), `${name} of ${url} saw ${saw}`);
      }
    }
  }
}

for (const mode of ["sandboxes", "real keys"]) {
  describe(mode, () => {
    let stack, length, tab;
    const site = (url) => new URL(url).origin;

    before(async () => {
      stack = await start(...(mode === "real keys" ? ["-live", madeUpMerchant()] : []));
    });
    after(() => stack?.stop());

    const attacked = async (attackIt) => {
      const context = await browser.newContext();
      tab = await context.newPage();
      [length, dials] = [stack.log.length, 0];
      await attackIt(context);
      await context.close();
      const { refused, invocations } = since(stack, length);
      assert.deepEqual([invocations, dials], [[], 0], "invocations, connections to WeChat");
      return refused;
    };

    test("a page of another origin", async () => {
      await attacked(async () => {
        await tab.goto(foreign);
        for (const origin of [stack.api, stack.api.replace("127.0.0.1", "localhost")]) {
          await attack(stack, tab, [`${origin}${posted}`, `${origin}/-/sync`, `${origin}/wechatpay/notifications`], [`${origin}/-/stack`, `${origin}${read}`], false);
        }
        const page = site(stack.page);
        await attack(stack, tab, [`${page}/break`, `${page}/backend${posted}`], [`${page}/`, `${page}/playground.json`, `${page}/received`], false);
      });
    });

    for (const [what, server] of [["the API", () => stack.api], ["the playground", () => site(stack.page)]]) {
      test(`DNS rebinding to ${what}`, async () => {
        const refused = await attacked(async () => {
          const origin = server().replace("127.0.0.1", "rebind.example");
          rebound = 0;
          await tab.goto(`${origin}/`);
          rebound = new URL(origin).port;
          assert.equal(await tab.evaluate("origin"), origin);
          const paths = what === "the API" ? [[posted, "/-/sync"], ["/-/stack", read]] : [["/break", `/backend${posted}`], ["/", "/playground.json"]];
          await attack(stack, tab, ...paths.map((list) => list.map((path) => origin + path)), true);
        });
        assert.deepEqual([...new Set(refused.map(({ code }) => code))], ["FOREIGN_HOST"]);
      });
    }

    // What shows that the tests above can fail.
    test("the playground's own page", async () => {
      const context = await browser.newContext();
      tab = await context.newPage();
      [length, dials] = [stack.log.length, 0];
      await tab.goto(stack.page);
      await tab.locator("form .go").click();
      await tab.locator("#result[aria-busy=false] #status").waitFor({ timeout: 60_000 });
      await until("the function's record", () => since(stack, length).invocations.length);
      assert.deepEqual(since(stack, length).refused, []);
      const status = await tab.locator("#status strong").innerText();
      if (mode === "sandboxes") {
        assert.equal(status, "200");
        assert.equal(dials, 0);
      } else {
        assert.match(status, /^50[24]$/); // WeChat can't be reached
        assert.notEqual(dials, 0);
        assert.equal(new URL(tab.url()).hash, "");
        await tab.reload(); // keeps the token
        await tab.locator("form .go").waitFor();
        assert.deepEqual(since(stack, length).refused, []);

        const other = await context.newPage();
        await other.goto(site(stack.page));
        await other.getByText("it has the token").waitFor();
      }
      await context.close();
    });
  });
}
