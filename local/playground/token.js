// The token of a stack that has real keys. It is in the fragment of the address that
// `go run ./local` prints, and goes with each request: the Content-Security-Policy lets
// this page call its own server and the API, and nobody else.

const key = "membercard:local-token";
const given = /^#token=(\w+)$/.exec(location.hash)?.[1];
if (given) {
  sessionStorage.setItem(key, given); // for a reload
  history.replaceState(null, "", location.pathname + location.search);
}
const token = sessionStorage.getItem(key);

const send = globalThis.fetch;
globalThis.fetch = async (input, init) => {
  const request = new Request(input, init);
  if (token) request.headers.set("X-Local-Token", token);
  const response = await send(request);
  if (response.status === 403 && (await response.clone().text()).includes("LOCAL_TOKEN_REQUIRED")) {
    document.body.textContent = "请打开 go run ./local 打印的地址，它带有令牌。Open the address that go run ./local printed: it has the token.";
    await new Promise(() => {}); // nothing else works
  }
  return response;
};
