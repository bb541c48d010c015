// SPDX-License-Identifier: Apache-2.0
// What is wrong with bytes that a peer sent, in the terms of the policy's error table.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"

namespace pinhole::http {

/// `code` is one of the literals below; `detail` is one readable line and passed printable().
struct [[nodiscard]] Fault {
  std::string_view code;
  int status = 400;
  std::string detail;
};

inline constexpr std::string_view kInvalidMethod = "invalid_method";
inline constexpr std::string_view kInvalidUrl = "invalid_url";
inline constexpr std::string_view kInvalidRequest = "invalid_request";
inline constexpr std::string_view kConstraintViolation = "constraint_violation";

/// A value or why there is none. PINHOLE_TRY works with it.
template <typename T>
using Parsed = std::expected<T, Fault>;

template <typename... Args>
[[nodiscard]] std::unexpected<Fault> fault(std::string_view code, int status,
                                           fmt::format_string<Args...> text, Args&&... args) {
  return std::unexpected(Fault{
      .code = code, .status = status, .detail = fmt::format(text, std::forward<Args>(args)...)});
}

}  // namespace pinhole::http
