// SPDX-License-Identifier: Apache-2.0
#include "pep/masked_head.h"

#include "secret/headers.h"

namespace pinhole::pep {

void mask_interim_head(const secret::MaskTable& masks, ResponseHead& head) {
  secret::mask_headers(masks, head.headers);
  secret::mask(masks, head.reason);
}

Result<void> mask_final_head(const secret::MaskTable& masks, std::string_view method,
                             ResponseHead& head) {
  if (secret::is_encoded(head.headers)) {
    return std::unexpected(
        Error{.message = "the origin compressed an answer that has to be searched for secrets, "
                         "although it was asked not to",
              .code = "upstream_error"});
  }
  mask_interim_head(masks, head);
  secret::drop_fields_about_bytes(head.headers);
  if (method != "HEAD") head.content_length.reset();
  return {};
}

}  // namespace pinhole::pep
