// SPDX-License-Identifier: Apache-2.0
// The one error type of Pinhole, and Result<T>, which carries it.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace pinhole {

/// What went wrong, in the user's words, with the way out. Printed by format_error() as
///
///   pinhole: cannot start "web": /dev/kvm exists, but user "ana" may not open it
///     a detail line, as many as there are
///     fix:  sudo usermod -aG kvm ana   (then log in again)
///
/// `message` is one line and starts with what was being attempted; context() adds the outer
/// attempt in front as the error travels up.
struct Error {
  std::string message;
  std::vector<std::string> details = {};
  std::string fix = {};
  int exit_status = 1;
  /// A stable identifier for programs (`denied_by_policy`, `name_invalid`); empty where none is
  /// defined.
  std::string code = {};

  [[nodiscard]] Error context(std::string_view doing) && {
    message = std::string(doing) + ": " + message;
    return std::move(*this);
  }
  [[nodiscard]] Error with_fix(std::string text) && {
    fix = std::move(text);
    return std::move(*this);
  }
  [[nodiscard]] Error with_detail(std::string text) && {
    details.push_back(std::move(text));
    return std::move(*this);
  }
};

template <typename T>
using Result = std::expected<T, Error>;

/// An Error from a format string: `return fail("cannot open {}: {}", path, why);`
template <typename... Args>
[[nodiscard]] std::unexpected<Error> fail(fmt::format_string<Args...> text, Args&&... args) {
  return std::unexpected(Error{.message = fmt::format(text, std::forward<Args>(args)...)});
}
[[nodiscard]] inline std::unexpected<Error> fail(Error error) {
  return std::unexpected(std::move(error));
}

/// The text of an errno value, as strerror gives it ("No such file or directory").
std::string errno_text(int error_number);

/// The lines that a user sees on stderr; everything passes printable().
std::string format_error(std::string_view program, const Error& error);

}  // namespace pinhole

#define PINHOLE_TRY_NAME2(a, b) a##b
#define PINHOLE_TRY_NAME(a, b) PINHOLE_TRY_NAME2(a, b)
/// `PINHOLE_TRY(auto file, open_file(path));` returns the error, or declares `file`.
/// Not for expressions that hold a co_await.
#define PINHOLE_TRY(declaration, ...) \
  PINHOLE_TRY_IMPL(PINHOLE_TRY_NAME(try_, __LINE__), declaration, __VA_ARGS__)
#define PINHOLE_TRY_IMPL(name, declaration, ...)              \
  auto name = (__VA_ARGS__);                                  \
  if (!name) return std::unexpected(std::move(name).error()); \
  declaration = *std::move(name)
/// The same for Result<void>, or where the value does not matter.
#define PINHOLE_TRY_VOID(...)                         \
  if (auto pinhole_try = (__VA_ARGS__); !pinhole_try) \
  return std::unexpected(std::move(pinhole_try).error())
