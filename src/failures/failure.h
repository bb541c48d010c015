// SPDX-License-Identifier: Apache-2.0
// What goes wrong between "start" and "it works": each named failure once, as the error that is shown and as the entry of
// docs/troubleshooting.md and `pinhole explain`.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "base/error.h"

namespace pinhole::failures {

/// Texts hold placeholders in braces, `{file}`; a test allows lower-case letters and '_' in them.
struct Failure {
  std::string_view code;  ///< Error::code, stable: `kernel_is_no_kernel`
  std::string_view
      symptom;  ///< what people see and search for: "the VM hangs at once, with no output"
  std::string_view message;  ///< Error::message: one line, no full stop
  std::string_view cause;    ///< whole sentences: what it comes from, and why it matters
  std::string_view fix;      ///< Error::fix: a command, or what to do
};

/// In a fix, {file}, {folder}, {name}, {path}, {program} and {vm} are words of a command that people paste into a shell, and
/// quoted for one where their values hold anything that it would read otherwise. Others are put in as they are.
struct Named {
  std::string_view name;  ///< of the placeholder, without braces
  std::string value;      ///< put in as it is: printing makes it printable
};

/// The failure as an error, with its placeholders replaced. One that has no value aborts, as does a value without placeholder:
/// both are bugs of the caller.
Error told(const Failure& failure, std::initializer_list<Named> values = {});

}  // namespace pinhole::failures
