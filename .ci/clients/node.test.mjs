// WeChat Pay's operations through the library wechatpay-axios-plugin, as it is: with its
// fixed host. All that it is told is HTTPS_PROXY and the sandbox's CA. Its files are in
// SANDBOX, and its notifications come to receiver.mjs at the port NOTIFY_PORT.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import library from "wechatpay-axios-plugin";

const { Aes, Rsa, Wechatpay } = library;
const file = (name) => readFileSync(`${process.env.SANDBOX}/${name}`, "utf8");
const sandbox = JSON.parse(file("sandbox.json"));
const apiv3Key = file("apiv3_key.txt");
const publicKeyID = file("pub_key_id.txt");
const notifyURL = `http://127.0.0.1:${process.env.NOTIFY_PORT}/notifications`;

const client = (serial = sandbox.certificate_serial_no) =>
  new Wechatpay({
    mchid: sandbox.mchid,
    serial,
    privateKey: file("apiclient_key.pem"),
    certs: { [publicKeyID]: file("pub_key.pem") },
    headers: { "Wechatpay-Serial": publicKeyID },
  });
const wxpay = client();
const brandCards = wxpay.v3.brand.partner["card-member"];
const openid = "obLatjnx9gnqzS4myYGmLZ7LgLBA";
const card = { brand_id: "1004", card_id: "pbLatjvWOibDc5-TBnbUk1pD12o0", openid };

/** decrypted returns what a notification or a certificate has encrypted. */
const decrypted = (r) => Aes.AesGcm.decrypt(r.ciphertext, apiv3Key, r.nonce, r.associated_data);

/** notified resolves to the resource of the notification of a type, when it has come. */
const notified = async (type) => {
  for (;;) {
    const all = readFileSync("notifications", "utf8").trimEnd().split("\n").filter(Boolean).map((line) => JSON.parse(line));
    const one = all.find((notification) => notification.event_type === type);
    if (one) return JSON.parse(decrypted(one.resource));
    await sleep(50);
  }
};

/** refusal returns the status and the body of a refused call. */
const refusal = async (call) => {
  const { response } = await call.then(() => assert.fail("not refused"), (error) => error);
  return { status: response.status, ...response.data };
};

test("a merchant card's token", async () => {
  const cards = wxpay.v3.marketing["membercard-open"].cards._card_id_;
  const { data } = await cards["permission-tokens"].post({ activate_type: "AUTO_ACTIVATE" }, card);
  assert.match(data.permission_token, /^\w+$/);
});

test("a brand card: token, customer, notification, confirmation", async () => {
  const { data } = await brandCards["pre-auth-tokens"].post(card);
  const opened = await fetch(`${sandbox.proxy}/open`, { method: "POST", body: new URLSearchParams({ token: data.token, openid }) });
  assert.equal(opened.status, 200);
  const { user_card_code } = await notified("BRAND_MEMBER_CARD_SP.USER_CARD.CREATE");
  assert.equal((await opened.json()).code, user_card_code);
  const confirmed = await brandCards["user-cards"]._user_card_code_.confirm.post(
    { ...card, user_card_confirm_state: "CREATE_CARD_SUCCESS" }, { user_card_code });
  assert.equal(confirmed.data.user_card_state, "EFFECTIVE");
  const queried = await brandCards["user-cards"]._user_card_code_.get({ params: card, user_card_code });
  assert.deepEqual(queried.data, confirmed.data);
  const page = { brand_id: card.brand_id, openid, user_card_state: "EFFECTIVE", offset: 0, limit: 20 };
  const listed = await brandCards["user-cards"].get({ params: page });
  assert.deepEqual(listed.data.data, [confirmed.data]);
});

test("a customer's merchant cards", async () => {
  const open = wxpay.v3.marketing["membercard-open"];
  const { data: list } = await open.user.cards.get({ params: { openid, offset: 0, limit: 20 } });
  const { card_id, code } = list.data[0];
  const { data } = await open.cards._card_id_.codes._code_.get({ card_id, code });
  assert.deepEqual([data.openid, data.code, data.user_card_status], [openid, code, "NOT_ACTIVATE"]);
});

test("a service module of a card: added, changed, removed", async () => {
  const modules = wxpay.v3.marketing["membercard-open"].cards._card_id_["service-modules"];
  const at = { card_id: card.card_id, service_module_id: "666" };
  const jump = (path) => ({ jump_miniprogram: { appid: "wx37178d097a6851d8", path } });
  const added = await modules.post({ service_module_id: "666", ...jump("pages/offers") }, at);
  assert.deepEqual(added.data, { ...at, ...jump("pages/offers") });
  const again = await refusal(modules.post({ service_module_id: "666", ...jump("pages/offers") }, at));
  assert.deepEqual([again.status, again.code], [400, "INVALID_REQUEST"]);
  const changed = await modules._service_module_id_.patch(jump("pages/new-year"), at);
  assert.deepEqual(changed.data, { ...at, ...jump("pages/new-year") });
  assert.equal((await modules._service_module_id_.delete(at)).status, 204);
});

test("the self-test of keys", async () => {
  const { data } = await wxpay.v3.security.echo.post({
    echo_message: "hello",
    encrypted_echo_message: Rsa.encrypt("secret", file("pub_key.pem")),
    notify_url: notifyURL,
  });
  assert.equal(data.echo_message, "hello");
  assert.equal(Rsa.decrypt(data.encrypted_echo_message, file("apiclient_key.pem")), "secret");
  assert.equal((await notified("SECURITY_ECHO.SUCCESS")).echo_message, "hello");
});

test("the list of certificates", async () => {
  const { data } = await wxpay.v3.certificates.get();
  assert.match(decrypted(data.data[0].encrypt_certificate), /^-----BEGIN CERTIFICATE-----/);
});

test("a field that is refused", async () => {
  const { status, code, detail } = await refusal(brandCards["pre-auth-tokens"].post({ ...card, openid: "" }));
  assert.deepEqual([status, code, detail.field, detail.location], [400, "PARAM_ERROR", "/openid", "body"]);
});

test("a wrong serial number", async () => {
  const { status, code } = await refusal(client("0".repeat(40)).v3.security.echo.post({ echo_message: "hello" }));
  assert.deepEqual([status, code], [401, "SIGN_ERROR"]);
});
