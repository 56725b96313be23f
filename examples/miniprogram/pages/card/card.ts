// A page that has its user join a brand, or adds a card to the wallet.

import { Membercard, MembercardError, miniProgramLogin, openBrandCard, openMerchantCardInMiniProgram, untilMember, wxTransport } from "membercard";

/** The API's URL is the stack's output ApiUrl, a legal request domain of the mini program. */
const membercard = new Membercard({ api: "https://example.execute-api.ap-east-1.amazonaws.com", login: miniProgramLogin(wx.login), transport: wxTransport(wx.request) });

const brandId = "1004";
const cardId = "pbLatjvWOibDc5-TBnbUk1pD12o0";

/** The merchant card, whose component takes no token. */
const merchantCard = { create_card_appid: "wxea9c30a90fs8d3fe", card_id: cardId, outer_str: "miniprogram" };

/** The shop's own backend, as in examples/shop. It learns from the event bus who is a member, and answers {"member": true}. Send the session of your own login along: a mini program has no cookies. */
const memberUrl = "https://shop.example.com/me";

type Fault = { words: string; requestId?: string };

Page({
  data: { cardId, busy: "" as "" | "join" | "open" | "add", joined: "" as "" | "asking" | "yes" | "unknown", fault: null as Fault | null },

  opened: false, // whether a component was brought up

  /** Opens the component for joining (入会组件) with a brand token. */
  join() {
    return this.during("join", async () => {
      const { token } = await membercard.brandToken({ brand_id: brandId, card_id: cardId });
      this.opened = true;
      await openBrandCard(token);
    });
  },

  /** Opens the component for a merchant card. */
  open() {
    return this.during("open", async () => {
      this.opened = true;
      await openMerchantCardInMiniProgram(merchantCard);
    });
  },

  /** The user is back: whether as a member, only the shop's backend knows. */
  async onShow() {
    if (!this.opened) return;
    this.opened = false;
    this.setData({ joined: "asking" });
    this.setData({ joined: (await untilMember(isMember)) ? "yes" : "unknown" });
  },

  /** Adds the card with a cardExt, which is good for once: so it is made now. */
  add() {
    return this.during("add", async () => {
      if (typeof wx.addCard !== "function") throw new MembercardError(0, { code: "WECHAT_TOO_OLD" });
      const { cardList } = await membercard.cardExt([{ card_id: cardId, outer_str: "miniprogram" }]);
      await new Promise<void>((success, fail) =>
        wx.addCard({
          cardList,
          success: () => success(),
          fail: ({ errMsg }) => (errMsg.includes("cancel") ? success() : fail(new MembercardError(0, { code: "NOT_OPENED", message: errMsg }))),
        }),
      );
    });
  },

  /** Shows that something is going on, and what went wrong with it. */
  async during(busy: "join" | "open" | "add", work: () => Promise<void>) {
    this.setData({ busy, fault: null });
    try {
      await work();
    } catch (error) {
      if (!(error instanceof MembercardError)) throw error;
      this.setData({ fault: { words: error.words("zh-CN"), requestId: error.requestId } });
    } finally {
      this.setData({ busy: "" });
    }
  },
});

function isMember(): Promise<boolean> {
  return new Promise((success, fail) =>
    wx.request({
      url: memberUrl,
      success: ({ statusCode, data }) => success(statusCode === 200 && (data as { member?: boolean }).member === true),
      fail: ({ errMsg }) => fail(new Error(errMsg)),
    }),
  );
}
