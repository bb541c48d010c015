// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

#include <system_error>

#include "base/printable.h"

namespace pinhole {

std::string errno_text(int error_number) { return std::generic_category().message(error_number); }

std::string format_error(std::string_view program, const Error& error) {
  std::string text = fmt::format("{}: {}\n", program, printable(error.message));
  for (const std::string& line : error.details) text += fmt::format("  {}\n", printable(line));
  if (!error.fix.empty()) text += fmt::format("  fix:  {}\n", printable(error.fix));
  return text;
}

}  // namespace pinhole
