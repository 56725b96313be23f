// Receives WeChat Pay's notifications at a port that it prints, verifies them, and writes
// what they have into the file notifications, a line each.
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import library from "wechatpay-axios-plugin";

const { Formatter, Rsa } = library;
const file = (name) => readFileSync(`${process.env.SANDBOX}/${name}`, "utf8");

writeFileSync("notifications", "");
const receiver = createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request) body += chunk;
  const header = (name) => request.headers[`wechatpay-${name}`];
  const message = Formatter.response(header("timestamp"), header("nonce"), body);
  const genuine = header("serial") === file("pub_key_id.txt") && Rsa.verify(message, header("signature"), file("pub_key.pem"));
  if (genuine) appendFileSync("notifications", `${JSON.stringify(JSON.parse(body))}\n`);
  response.writeHead(genuine ? 204 : 401).end();
});
receiver.listen(0, "127.0.0.1", () => console.log(receiver.address().port));
