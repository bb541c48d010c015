// SPDX-License-Identifier: Apache-2.0
#include <exception>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "base/log.h"
#include "pep/options.h"
#include "pep/program.h"
#include "sys/process.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
// The search for leaks at the end traces this process from another one, which a sealed one may not
// start. The tests that run the door in their own process are searched.
extern "C" __attribute__((weak)) int __lsan_is_turned_off() { return 1; }
#endif
#endif

namespace {

int report(const pinhole::Error& error) {
  fmt::print(stderr, "{}", pinhole::format_error("pinhole-pep", error));
  return error.exit_status;
}

}  // namespace

int main(int argc, char** argv) try {
  pinhole::sys::harden_self();
  const std::vector<std::string_view> arguments(argv + 1, argv + argc);
  const auto options = pinhole::pep::parse_options(arguments);
  if (!options) return report(options.error());
  if (options->help) {
    fmt::print("{}", pinhole::pep::kUsage);
    return 0;
  }
  pinhole::set_log("pep", options->log_level);
  const auto ran = pinhole::pep::run_program(*options);
  return ran ? 0 : report(ran.error());
} catch (const std::exception& error) {
  return report({.message = error.what()});
}
