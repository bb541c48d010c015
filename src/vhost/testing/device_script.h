// SPDX-License-Identifier: Apache-2.0
// Any bytes as a guest's memory and a front-end's words: the entry points for fuzzing what stands
// between a hostile guest and this process, and for tests that throw dice.
#pragma once

#include <cstdint>
#include <span>

namespace pinhole::vhost::testing {

/// Plays `bytes` as pokes into rings and memory of a running device, with turns of the device in
/// between.
void run_device_script(std::span<const std::uint8_t> bytes);

/// Parses `bytes` as one vhost-user message: a header, a payload and a number of descriptors.
void run_message(std::span<const std::uint8_t> bytes);

}  // namespace pinhole::vhost::testing
