// SPDX-License-Identifier: Apache-2.0
// Disk images in formats of their own: headers, checksums where they have any, and tables as far as they tell where the file must
// reach. What is in the disk, nobody looks at before it is converted.
#pragma once

#include <optional>
#include <string>

#include "artifact/disk.h"
#include "artifact/source.h"

namespace pinhole::artifact {

/// Tables are followed up to this many bytes of them; an image that has more is large, and looked at in part.
inline constexpr std::uint64_t kMostTableBytes = std::uint64_t{32} << 20;

/// What the judges of one format share: words for what is wrong.
class Container {
 public:
  Container(const Source& source, const std::string& name, DiskReport& report)
      : source_(source), name_(name), report_(report) {}

  void damaged(std::string what);
  void truncated(std::string_view part, std::uint64_t expected);
  void needs_another_file(std::string what);
  void unknown_kind(std::string what);
  /// Whether [at, at + size) lies in the file; where not, that it is truncated.
  bool reaches(std::string_view part, std::uint64_t at, std::uint64_t size);

  [[nodiscard]] const Source& source() const { return source_; }
  [[nodiscard]] DiskReport& report() { return report_; }

 private:
  const Source& source_;
  const std::string& name_;
  DiskReport& report_;
};

/// `may_be_backed`: an overlay of ours, whose base the plan names.
void judge_qcow2(Container container, bool may_be_backed = false);
void judge_vhd(Container container);
void judge_vhdx(Container container);
void judge_vmdk(Container container);
void judge_iso(Container container);

/// The parent that QEMU would open for a VMDK: it takes it from the 20 sectors behind the header, wherever in them the words
/// stand and wherever the header says that the descriptor is. "/etc/passwd", or empty where only its id is named; nothing where
/// there is none.
std::optional<std::string> vmdk_parent(const Source& source);

/// A fixed VHD: its footer is all that tells it from a raw disk.
bool is_fixed_vhd(const Source& source);
bool is_iso(const Source& source);

}  // namespace pinhole::artifact
