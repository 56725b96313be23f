// A page of a mini program.
import { Membercard, MembercardError, miniProgramLogin, openBrandCard, openMerchantCardInMiniProgram, wxTransport } from "membercard";

const membercard = new Membercard({ api: "https://example.execute-api.ap-east-1.amazonaws.com", login: miniProgramLogin(wx.login), transport: wxTransport(wx.request) });

Page({
  data: { fault: "" },
  async join() {
    try {
      await openBrandCard((await membercard.brandToken({ brand_id: "1004", card_id: "pbLatjvWOibDc5-TBnbUk1pD12o0" })).token);
    } catch (error) {
      this.setData({ fault: error instanceof MembercardError ? error.words() : String(error) });
    }
  },
  open: () => openMerchantCardInMiniProgram({ create_card_appid: "wxea9c30a90fs8d3fe", card_id: "p", outer_str: "shop" }),
});
