// SPDX-License-Identifier: Apache-2.0
// The device on the rings of a hostile driver: ring contents and packets, without a front-end.
#include "base/log.h"
#include "fuzz/fuzz.h"
#include "vhost/testing/device_script.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool quiet = [] {
    pinhole::set_log("fuzz", pinhole::LogLevel::error);
    return true;
  }();
  static_cast<void>(quiet);
  pinhole::vhost::testing::run_device_script({data, size});
  return 0;
}
