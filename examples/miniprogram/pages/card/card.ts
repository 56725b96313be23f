// A page that has its user join a brand, or adds a card to the wallet.

import { cardExt, MembercardError, mintBrandToken, openBrandCard, openMerchantCard, untilMember } from "../../membercard";

const brandId = "1004";
const cardId = "pbLatjvWOibDc5-TBnbUk1pD12o0";

/** The merchant card, whose component takes no token. */
const merchantCard = { create_card_appid: "wxea9c30a90fs8d3fe", card_id: cardId, outer_str: "miniprogram" };

/** The shop's own backend. It learns from the event bus who is a member, and answers {"member": true}. */
const memberUrl = "https://shop.example.com/me/member";

type Fault = { message: string; solution?: string; requestId?: string };

Page({
  data: { cardId, busy: "" as "" | "join" | "open" | "add", joined: "" as "" | "asking" | "yes" | "unknown", fault: null as Fault | null },

  opened: false, // whether a component was brought up

  /** Opens the component for joining (入会组件) with a brand token. */
  join() {
    return this.during("join", async () => {
      const { token } = await mintBrandToken({ brand_id: brandId, card_id: cardId });
      this.opened = true;
      await openBrandCard(token);
    });
  },

  /** Opens the component for a merchant card. */
  open() {
    return this.during("open", async () => {
      this.opened = true;
      await openMerchantCard(merchantCard);
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
      if (typeof wx.addCard !== "function") throw new Error("请升级微信后再试");
      const cardList = await cardExt([{ card_id: cardId, outer_str: "miniprogram" }]);
      await new Promise<void>((success, fail) =>
        wx.addCard({
          cardList,
          success: () => success(),
          fail: ({ errMsg }) => (errMsg.includes("cancel") ? success() : fail(new Error(errMsg))),
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
      const { message } = error as Error;
      const { solution, requestId } = error instanceof MembercardError ? error : {};
      this.setData({ fault: { message, solution, requestId } });
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
