// WeChat Pay's operations through the library wechatpay-axios-plugin, as it is: with its
// fixed host. All that it is told is HTTPS_PROXY and the sandbox's CA. Its files are in
// SANDBOX, and its notifications come to the port NOTIFY_PORT.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import library from "wechatpay-axios-plugin";

const { Aes, Formatter, Rsa, Wechatpay } = library;
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

const waiting = new Map(); // by event_type
/** notified resolves to the resource of the next notification of a type. */
const notified = (type) => new Promise((resolve) => waiting.set(type, resolve));

const receiver = createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request) body += chunk;
  const header = (name) => request.headers[`wechatpay-${name}`];
  const message = Formatter.response(header("timestamp"), header("nonce"), body);
  const genuine = header("serial") === publicKeyID && Rsa.verify(message, header("signature"), file("pub_key.pem"));
  response.writeHead(genuine ? 204 : 401).end();
  const { event_type: type, resource } = JSON.parse(body);
  if (genuine) waiting.get(type)?.(JSON.parse(decrypted(resource)));
});
before(() => new Promise((done) => receiver.listen(process.env.NOTIFY_PORT, "127.0.0.1", done)));
after(() => receiver.close());

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
  const created = notified("BRAND_MEMBER_CARD_SP.USER_CARD.CREATE");
  const opened = await fetch(`${sandbox.proxy}/open`, { method: "POST", body: new URLSearchParams({ token: data.token, openid }) });
  assert.equal(opened.status, 200);
  const { user_card_code } = await created;
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
  const echoed = notified("SECURITY_ECHO.SUCCESS");
  const { data } = await wxpay.v3.security.echo.post({
    echo_message: "hello",
    encrypted_echo_message: Rsa.encrypt("secret", file("pub_key.pem")),
    notify_url: notifyURL,
  });
  assert.equal(data.echo_message, "hello");
  assert.equal(Rsa.decrypt(data.encrypted_echo_message, file("apiclient_key.pem")), "secret");
  assert.equal((await echoed).echo_message, "hello");
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
