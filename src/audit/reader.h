// SPDX-License-Identifier: Apache-2.0
// Reading a log's records: one as a value, or all from the newest backwards.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace pinhole::audit {

/// What the guest said of the program that asked.
struct EntryClaim {
  std::string program;
  std::optional<std::uint64_t> uid = {}, pid = {};
  /// "curl, uid 1000, pid 123"; empty where it said nothing.
  [[nodiscard]] std::string text() const;
};

/// A record as it stands in the log; see record.h. What a line lacks, or has of another type, is
/// empty. Nothing here is fit for a terminal before printable().
struct Entry {
  std::uint64_t sequence = 0;
  std::chrono::system_clock::time_point time = {};
  std::string kind, vm, boot, request, method, url, rule, action, address, code, policy, note;
  EntryClaim claim;
  std::vector<std::string> secrets;
  std::optional<std::int64_t> status;
  std::optional<std::uint64_t> sent, received, count;
  std::optional<double> milliseconds;
};
Result<Entry> parse_entry(std::string_view line);

/// The host of an URL or of "host:port", in lower case, brackets of an IPv6 address left off; empty
/// where there is none.
std::string host_of(std::string_view url);

/// The port of an URL or of "host:port", its scheme's where it names none; 0 where there is none.
std::uint16_t port_of(std::string_view url);

/// The lines of a log (all its files) from the newest to the oldest. A line without its newline is
/// left out: it is being written, or a crash left it.
class BackwardReader {
 public:
  static Result<BackwardReader> open(const std::filesystem::path& current);
  /// Without the newline; nothing: that was the oldest.
  Result<std::optional<std::string>> next();
  [[nodiscard]] std::uint64_t bytes_read() const { return bytes_read_; }

 private:
  Result<bool> open_older();
  Result<bool> read_block();

  std::vector<std::filesystem::path> older_;  // the next one last
  Fd file_;
  std::uint64_t at_ = 0;  // what is before this offset was not read yet
  std::string text_;      // what was read and not given out
  bool fresh_ = false;    // nothing of this file was given out yet
  std::uint64_t bytes_read_ = 0;
};

}  // namespace pinhole::audit
