// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "sys/process.h"
#include "vhost/backend.h"
#include "vhost/options.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
// The search for leaks at the end traces this process from another one, which a sealed one may not
// start. The device itself is searched in the tests that run it in their own process.
extern "C" __attribute__((weak)) int __lsan_is_turned_off() { return 1; }
#endif
#endif

namespace {

int report(const pinhole::Error& error) {
  const std::string text = pinhole::format_error("pinhole-vsockd", error);
  std::fputs(text.c_str(), stderr);
  return error.exit_status;
}

/// Each connection has a descriptor, and 1,024 is a common limit for all of them.
void allow_all_connections() {
  constexpr rlim_t kOthers = 256;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::min(limit.rlim_max, rlim_t{pinhole::vsock::kMaxConnections} + kOthers);
  ::setrlimit(RLIMIT_NOFILE, &limit);  // refused: connections wait for a free descriptor
}

}  // namespace

int main(int argc, char** argv) {
  pinhole::sys::harden_self();
  pinhole::set_log("vsockd", pinhole::LogLevel::info);
  std::signal(SIGPIPE, SIG_IGN);
  allow_all_connections();
  const std::vector<std::string_view> args(argv + 1, argv + argc);
  if (args.size() == 1 && args[0] == "--version") {
    std::fputs("pinhole-vsockd " PINHOLE_VERSION "\n", stdout);
    return 0;
  }
  const auto options = pinhole::vhost::parse_options(args);
  if (!options) return report(options.error());
  if (options->help) {
    std::fputs(std::string(pinhole::vhost::usage()).c_str(), stdout);
    return 0;
  }
  auto backend = pinhole::vhost::Backend::start(*options);
  if (!backend) return report(backend.error());
  if (const auto armed = (*backend)->loop().stop_on_signals(); !armed) return report(armed.error());
  if (const auto sealed = (*backend)->seal(); !sealed) return report(sealed.error());
  (*backend)->loop().run();
  return 0;
}
