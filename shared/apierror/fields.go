package apierror

import (
	"slices"
	"strings"
)

// documented are the names that the documents of WeChat Pay's operations have for fields.
var documented = [...]string{
	"body", "path", "query", "header", "Wechatpay-Serial",
	"card_id", "code", "user_card_code", "openid", "brand_id", "outer_str",
	"activate_type", "navigate_back_previous_page", "activate_url", "activate_appid", "activate_path",
	"appid", "user_card_state", "offset", "limit",
	"membership_number", "encrypt_code", "activate_ticket",
	"user_card_confirm_state", "fail_reason", "card_color", "card_picture_url", "phone_number", "level", "attach",
	"user_information", "common_field_list", "custom_field_list", "name", "value",
	"valid_date_information", "type", "available_begin_time", "available_end_time", "available_day_after_receive",
	"echo_message", "encrypted_echo_message", "notify_url",
}

// KnownField returns Field without the names at its end that may not be logged.
func (d *Detail) KnownField() string {
	if d.Undocumented == 0 {
		return d.Field
	}
	names := strings.Split(d.Field, "/")
	return strings.Join(append(names[:len(names)-d.Undocumented], "…"), "/")
}

// undocumented returns how many names at the end of a JSON pointer that WeChat sent may
// not be logged. The first one is in no document. WeChat chooses the pointer, so it may
// contain anything, such as a value of the request.
func undocumented(pointer string) int {
	const maxDepth = 8
	names := strings.Split(pointer, "/")
	for i, name := range names {
		if first := i == 0 && name == ""; !first && (i > maxDepth || !slices.Contains(documented[:], name)) {
			return len(names) - i
		}
	}
	return 0
}
