// The local stack's sandbox as the browser in WeChat, as far as this shop sees of it.
Object.defineProperty(navigator, "userAgent", { value: `${navigator.userAgent} MicroMessenger/8.0.50` });
globalThis.wx = {
  checkJsApi: ({ success }) => success({ checkResult: { openBusinessView: true } }),
  async invoke(name, { queryString }, done) {
    const response = await fetch("/wechat/open", { method: "POST", body: new URLSearchParams(queryString) });
    if (!response.ok) return done({ err_msg: `${name}:fail ${await response.text()}` });
    const { jump } = await response.json();
    if (jump) location.assign(jump.url); // where the customer activates the card
    else done({ err_msg: `${name}:ok` });
  },
};
