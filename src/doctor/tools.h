// SPDX-License-Identifier: Apache-2.0
// What the rows about programs judge by; inner header of doctor.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "doctor/row.h"
#include "sys/file_view.h"
#include "sys/process.h"

namespace pinhole::doctor {

/// As a number that compares: 7.2.22 is 7002022.
using Version = std::uint64_t;
constexpr Version version(unsigned major, unsigned minor, unsigned micro) {
  return (std::uint64_t{major} * 1000 + minor) * 1000 + micro;
}
/// The first number of two or three parts behind `word` ("version "); parts of at most three digits.
std::optional<Version> parse_version(std::string_view text, std::string_view word);
std::string to_text(Version version);

/// Known to fail VMs as Pinhole makes them, in [from, end).
struct BadQemu {
  Version from, end;
  std::string_view what;    // "guests with several processors hang while they boot"
  std::string_view source;  // where that is told
};
const BadQemu* known_bad_qemu(Version version);
/// The first with vhost-user-vsock-pci (5.1) and q35's `hpet` and `sata` switches as we use them.
inline constexpr Version kOldestQemu = version(6, 1, 0);

/// The command that installs what Debian calls `packages` ("qemu-utils ovmf") on this distribution (os-release(5)).
std::string install_command(const Facts& facts, std::string_view packages);

struct ToolOptions {
  std::vector<sys::Visible> also_visible = {};
  sys::SpawnFilter filter = sys::SpawnFilter::descriptors_only;
  const sys::User* mapped = nullptr;  // with this user's subordinate ids, as id 0
};
/// `program` with `args`, confined to itself and its libraries, and bounded in time and output.
Result<sys::Output> run_tool(const fs::path& program, std::vector<std::string> args,
                             const ToolOptions& options = {});

/// Starts virtiofsd over an empty folder as a share's is, and has it answer a first message, which it does when it has
/// set itself apart. What it says where it does not.
Result<void> try_virtiofsd(const fs::path& program, const Facts& facts);

}  // namespace pinhole::doctor
