// SPDX-License-Identifier: Apache-2.0
// What a boot of a VM has made, written before it exists (runtime.json in the VM's folder) and removed with the last of it.
// Where it is found while nobody holds the VM's lock, a crash or the host's end came in between, and it says what is ours.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "sys/process_identity.h"

namespace pinhole::config {

struct RecordedProcess {
  std::string name;  // "supervisor", "qemu", …; "up": who prepares the VM
  sys::ProcessIdentity identity;
  bool operator==(const RecordedProcess&) const = default;
};

struct BootRecord {
  std::string host_boot;      // sys::host_boot_id()
  std::string pid_namespace;  // sys::pid_namespace(): elsewhere the pids mean nothing
  std::vector<RecordedProcess> processes;
  /// What is gone after a clean end: the folder of sockets, which a later command may look for elsewhere.
  std::vector<std::filesystem::path> paths;
  bool operator==(const BootRecord&) const = default;
};

/// VMs have a dozen processes at most, and each boot one folder.
inline constexpr std::size_t kMostRecorded = 64;
inline constexpr std::size_t kLargestRecord = 64 << 10;

std::string to_json(const BootRecord& record);
/// Strict: a missing or mistyped member is an error, and so is another version.
Result<BootRecord> parse_boot_record(std::string_view text);

/// Whether pids of the record mean something to this process.
bool is_of_here(const BootRecord& record);

/// The writing side, of whoever holds the VM's lock.
class BootRecorder {
 public:
  /// Writes a record with this process as `name` and these paths, over what an earlier one may have left.
  static Result<BootRecorder> begin(const std::filesystem::path& file, std::string_view name,
                                    std::vector<std::filesystem::path> paths);
  /// One more process; an earlier one of that name is gone by now. A failed write keeps the old record.
  Result<void> add(std::string_view name, pid_t pid);
  /// Nothing is left of what it names.
  void remove() const;

 private:
  explicit BootRecorder(std::filesystem::path file) : file_(std::move(file)) {}
  [[nodiscard]] Result<void> write() const;
  std::filesystem::path file_;
  BootRecord record_;
};

}  // namespace pinhole::config
