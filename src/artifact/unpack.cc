// SPDX-License-Identifier: Apache-2.0
#include "artifact/unpack.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <array>

#include "base/printable.h"

namespace pinhole::artifact {

std::string_view Stream::peek(std::size_t most) {
  most = std::min(most, kLookahead);
  while (buffer_.size() - start_ < most) {
    if (start_ > 0) {
      buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(start_));
      start_ = 0;
    }
    const std::size_t had = buffer_.size();
    buffer_.resize(2 * kLookahead);
    const std::size_t got = more(std::span(buffer_).subspan(had));
    buffer_.resize(had + got);
    if (got == 0) break;
  }
  const std::size_t size = std::min(most, buffer_.size() - start_);
  return {reinterpret_cast<const char*>(buffer_.data()) + start_, size};
}

bool Stream::skip(std::uint64_t count) {
  const auto buffered =
      static_cast<std::size_t>(std::min<std::uint64_t>(count, buffer_.size() - start_));
  start_ += buffered;
  at_ += buffered;
  count -= buffered;
  if (count == 0) return true;
  const std::uint64_t left_out = leave_out(count);
  at_ += left_out;
  count -= left_out;
  while (count > 0) {
    const std::size_t next = peek(kLookahead).size();
    if (next == 0) return false;
    const std::size_t taken = static_cast<std::size_t>(std::min<std::uint64_t>(next, count));
    start_ += taken;
    at_ += taken;
    count -= taken;
  }
  return true;
}

void Stream::skip_zeros(std::uint64_t most) {
  while (most > 0) {
    const std::string_view next =
        peek(static_cast<std::size_t>(std::min<std::uint64_t>(most, kLookahead)));
    const std::size_t zeros = std::min(next.find_first_not_of('\0'), next.size());
    if (zeros == 0) return;
    skip(zeros);
    most -= zeros;
  }
}

std::size_t PlainStream::more(std::span<std::uint8_t> to) {
  const std::size_t n = source_.read(next_, to);
  next_ += n;
  return n;
}

std::uint64_t PlainStream::leave_out(std::uint64_t count) {
  const std::uint64_t left = next_ < source_.size() ? source_.size() - next_ : 0;
  const std::uint64_t taken = std::min(count, left);
  next_ += taken;
  return taken;
}

/// What libarchive reads from.
struct UnpackedStream::Feed {
  const Source& source;
  std::uint64_t at = 0;
  std::array<std::uint8_t, 65536> buffer = {};

  static la_ssize_t read(archive* /*handle*/, void* self, const void** out) {
    auto* feed = static_cast<Feed*>(self);
    const std::size_t n = feed->source.read(feed->at, feed->buffer);
    feed->at += n;
    *out = feed->buffer.data();
    return static_cast<la_ssize_t>(n);
  }
};

UnpackedStream::UnpackedStream(const Source& source, std::uint64_t limit)
    : feed_(std::make_unique<Feed>(source)), archive_(archive_read_new()), left_(limit) {
  // Filters that would start a program (ARCHIVE_WARN) are none.
  for (auto add : {archive_read_support_filter_gzip, archive_read_support_filter_xz,
                   archive_read_support_filter_zstd, archive_read_support_filter_bzip2,
                   archive_read_support_filter_lz4, archive_read_support_filter_lzma})
    add(archive_);
  archive_read_support_format_raw(archive_);
  archive_entry* entry = nullptr;
  if (archive_read_open(archive_, feed_.get(), nullptr, &Feed::read, nullptr) != ARCHIVE_OK ||
      archive_read_next_header(archive_, &entry) != ARCHIVE_OK) {
    const char* text = archive_error_string(archive_);
    damage_ = text == nullptr ? "it is empty" : printable(text, 200);
  }
}

UnpackedStream::~UnpackedStream() { archive_read_free(archive_); }

std::size_t UnpackedStream::more(std::span<std::uint8_t> to) {
  if (!damage_.empty() || cut_) return 0;
  if (left_ == 0) {
    cut_ = true;
    return 0;
  }
  const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(to.size(), left_));
  const la_ssize_t n = archive_read_data(archive_, to.data(), wanted);
  if (n < 0) {
    const char* text = archive_error_string(archive_);
    damage_ = text == nullptr ? "it does not decompress" : printable(text, 200);
    return 0;
  }
  left_ -= static_cast<std::uint64_t>(n);
  return static_cast<std::size_t>(n);
}

}  // namespace pinhole::artifact
