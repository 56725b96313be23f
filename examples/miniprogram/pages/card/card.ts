// A page that has its user join a brand, or adds a card to the wallet.

import { cardExt, MembercardError, mintBrandToken } from "../../membercard";

const brandId = "1004";
const cardId = "pbLatjvWOibDc5-TBnbUk1pD12o0";

type Fault = { message: string; solution?: string; requestId?: string };

/** Newer than the typings: opens a component of WeChat Pay. */
type WithBusinessView = {
  openBusinessView?: (input: { businessType: string; queryString: string; fail: (result: { errMsg: string }) => void }) => void;
};

Page({
  data: { cardId, busy: "" as "" | "join" | "add", fault: null as Fault | null },

  /** Opens the component for joining (入会组件) with a brand token. */
  join() {
    return this.during("join", async () => {
      const { openBusinessView } = wx as WithBusinessView;
      if (!openBusinessView) throw new Error("请升级微信后再试");
      const { token } = await mintBrandToken({ brand_id: brandId, card_id: cardId });
      openBusinessView({
        businessType: "wxpayCardMember",
        queryString: `token=${encodeURIComponent(token)}&scene=CARD_MEMBER`,
        fail: ({ errMsg }) => this.setData({ fault: { message: errMsg } }),
      });
    });
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
  async during(busy: "join" | "add", work: () => Promise<void>) {
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
