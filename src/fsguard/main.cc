// SPDX-License-Identifier: Apache-2.0
// pinhole-fsguard: descriptor 3 leads to QEMU, descriptor 4 to virtiofsd; both are connected.
#include <csignal>
#include <cstdio>
#include <string>
#include <string_view>

#include "base/log.h"
#include "fsguard/guard.h"
#include "sys/process.h"
#include "sys/unix_socket.h"
#include "vhost/seal.h"

namespace {

constexpr int kQemu = 3;
constexpr int kServer = 4;

pinhole::Result<void> run() {
  for (const int fd : {kQemu, kServer}) pinhole::sys::set_nonblocking(fd);
  PINHOLE_TRY(auto loop, pinhole::sys::EventLoop::make());
  PINHOLE_TRY_VOID(loop->stop_on_signals());
  auto* turning = loop.get();
  PINHOLE_TRY(const auto guard,
              pinhole::fsguard::Guard::start(*loop, pinhole::Fd(kQemu), pinhole::Fd(kServer),
                                             [turning] { turning->stop(); }));
  PINHOLE_TRY_VOID(pinhole::vhost::seal());
  loop->run();
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  pinhole::sys::harden_self();
  pinhole::set_log("fsguard", pinhole::LogLevel::info);
  std::signal(SIGPIPE, SIG_IGN);
  if (argc == 2 && std::string_view(argv[1]) == "--version") {
    std::fputs("pinhole-fsguard " PINHOLE_VERSION "\n", stdout);
    return 0;
  }
  if (argc > 1) {
    std::fputs("pinhole-fsguard takes no words: descriptor 3 is QEMU, descriptor 4 virtiofsd\n",
               stderr);
    return 2;
  }
  const auto done = run();
  if (done) return 0;
  std::fputs(pinhole::format_error("pinhole-fsguard", done.error()).c_str(), stderr);
  return 1;
}
