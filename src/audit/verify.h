// SPDX-License-Identifier: Apache-2.0
// Reading an audit log back and checking its chain. It finds accidents and anything a guest could
// do; against somebody who may write the file only together with a head kept elsewhere.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/sha256.h"

namespace pinhole::audit {

/// The newest record: its number, and the SHA-256 of its line (without newline), hexadecimal.
struct Head {
  std::uint64_t sequence = 0;
  std::string sha256;
  bool operator==(const Head&) const = default;
};

struct Summary {
  std::uint64_t records = 0;
  std::uint64_t boots = 0;  // start records
  bool sealed = false;      // the last record is a seal
  Head head;
  std::uint64_t files = 1;
  /// Of a last line without a newline, which is no record yet: a crash left it, or it is being
  /// written; the next start sets it aside.
  std::uint64_t torn_bytes = 0;
};

/// Takes lines one by one, without their newline. Pure.
class ChainVerifier {
 public:
  ChainVerifier();
  /// An error when `line` is not a record or does not follow from the line before: "line 17: …".
  Result<void> add(std::string_view line);
  /// From here on lines are counted from 1 again.
  void begin_file() { line_ = 0; }
  [[nodiscard]] const Summary& summary() const { return summary_; }

 private:
  Summary summary_;
  std::uint64_t line_ = 0;
};

/// What a single line says of its place in the chain.
struct Link {
  std::uint64_t sequence = 0;
  std::string previous;
  std::string kind;
};
Result<Link> parse_link(std::string_view line);

/// Verifies a whole text; a last line without a newline is an error ("is cut off").
Result<Summary> verify_text(std::string_view text);
/// The same for a file, read in pieces, so of any size.
Result<Summary> verify_file(const std::filesystem::path& path);

/// All files of a log (files.h) in their order; `current` is the path of the newest. A file that is
/// missing in between is an error, and so is a record that is not what one of `heads` says, or a
/// log that ends before one of them. A torn last line is told in the Summary.
Result<Summary> verify_log(const std::filesystem::path& current, std::vector<Head> heads = {});

}  // namespace pinhole::audit
