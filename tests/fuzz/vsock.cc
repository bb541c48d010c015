// SPDX-License-Identifier: Apache-2.0
// The vsock state machine: packets of a hostile guest, moods of host programs, time.
#include "fuzz/fuzz.h"
#include "vsock/testing/script.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pinhole::vsock::testing::MuxerScript::run({data, size});
  return 0;
}
