// SPDX-License-Identifier: Apache-2.0
#include "wire/line_reader.h"

namespace pinhole::wire {

Result<std::optional<std::string>> LineReader::next() {
  const std::size_t end = pending_.find('\n', scanned_);
  const std::size_t length = (end == std::string::npos ? pending_.size() : end) - start_;
  if (length > limit_) return fail("a line is longer than {} bytes", limit_);
  if (end == std::string::npos) {
    pending_.erase(0, start_);
    start_ = 0;
    scanned_ = pending_.size();
    return std::nullopt;
  }
  std::string line = pending_.substr(start_, length);
  start_ = end + 1;
  scanned_ = start_;
  return line;
}

}  // namespace pinhole::wire
