// SPDX-License-Identifier: Apache-2.0
#include <malloc.h>
#include <sys/resource.h>

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

/// TLS and libcurl take buffers for each request and give them back. By default these pages go to
/// the kernel and come again, filled with zeros, thousands of times in a second.
void keep_free_memory() {
  constexpr int kKept = 4 << 20;
  constexpr int kTakenAtOnce = 256 << 10;
  ::mallopt(M_TRIM_THRESHOLD, kKept);
  ::mallopt(M_TOP_PAD, kTakenAtOnce);
}

/// A policy may allow more connections than the 1024 descriptors that programs usually start with;
/// the hard limit is there for those that do not wait by select(), as nothing here does.
void use_all_descriptors() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);  // without it new connections wait until others end
}

}  // namespace

int main(int argc, char** argv) try {
  pinhole::sys::harden_self();
  keep_free_memory();
  use_all_descriptors();
  const std::vector<std::string_view> arguments(argv + 1, argv + argc);
  if (arguments.size() == 1 && arguments[0] == "--version") {
    fmt::print("pinhole-pep {}\n", PINHOLE_VERSION);
    return 0;
  }
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
