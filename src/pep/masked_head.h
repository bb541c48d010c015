// SPDX-License-Identifier: Apache-2.0
// The head of an answer by an origin that knows a secret. Pure.
#pragma once

#include <string_view>

#include "base/error.h"
#include "pep/response_head.h"
#include "secret/masker.h"

namespace pinhole::pep {

/// A final answer's: masked, and without what the origin says about bytes that may not be those
/// that the guest gets. `upstream_error` where its body is compressed and could not be searched.
Result<void> mask_final_head(const secret::MaskTable& masks, std::string_view method,
                             ResponseHead& head);
/// An interim answer's.
void mask_interim_head(const secret::MaskTable& masks, ResponseHead& head);

}  // namespace pinhole::pep
