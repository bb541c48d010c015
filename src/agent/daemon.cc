// SPDX-License-Identifier: Apache-2.0
#include "agent/daemon.h"

#include <malloc.h>

#include <csignal>
#include <exception>
#include <filesystem>
#include <memory>

#include <boost/asio/signal_set.hpp>

#include "agent/hello_client.h"
#include "agent/network.h"
#include "agent/operations.h"
#include "agent/proxy.h"
#include "base/log.h"

namespace pinhole::agent {
namespace {

/// None of the services ever ends by itself: an exception out of one is our end, and systemd starts
/// us again.
void rethrow(std::exception_ptr error) {
  if (error) std::rethrow_exception(error);
}

}  // namespace

int run_daemon(Settings given) {
  // The proxy's and exec's buffers go back to the kernel when their connections end; else a burst
  // stays for ever.
  constexpr int kReturnedFrom = 32 * 1024;
  ::mallopt(M_MMAP_THRESHOLD, kReturnedFrom);
  const auto settings = std::make_shared<const Settings>(std::move(given));
  std::error_code error;
  std::filesystem::create_directories(settings->run_dir, error);
  if (error) log(LogLevel::warning, "{}: {}", settings->run_dir.string(), error.message());
  Result<void> network;
  if (settings->network_setup) network = set_up_loopback();
  if (!network) log(LogLevel::error, "{}", network.error().message);

  asio::io_context context(1);
  asio::signal_set stop(context, SIGTERM, SIGINT);
  stop.async_wait([&](error_code, int) { context.stop(); });
  asio::co_spawn(context, run_hello(settings, network), rethrow);
  asio::co_spawn(context, run_operations(settings), rethrow);
  if (settings->proxy_port != 0) {
    asio::co_spawn(context, run_proxy(settings->proxy_port, settings->door), rethrow);
  }
  context.run();
  return 0;
}

}  // namespace pinhole::agent
