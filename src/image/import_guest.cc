// SPDX-License-Identifier: Apache-2.0
#include "image/import_guest.h"

#include <algorithm>
#include <optional>
#include <set>

#include "base/printable.h"
#include "base/strings.h"
#include "failures/import.h"
#include "sys/file_view.h"
#include "sys/files.h"
#include "sys/host_confinement.h"
#include "sys/process.h"
#include "sys/user.h"

namespace pinhole::image {
namespace {

namespace fs = std::filesystem;
using Access = sys::Visible::Access;
using Entries = std::map<std::string, GuestEntry>;

constexpr std::chrono::seconds kLimit{120};
constexpr std::size_t kMostOutput = std::size_t{4} << 20;
constexpr std::size_t kMostLinks = 8;
constexpr std::size_t kMostPath = 512;

/// debugfs cuts its commands at spaces and quotes; such names are not ours.
bool is_plain(std::string_view path) {
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._@+-";
  return !path.empty() && path.size() <= kMostPath && !path.contains("/../") &&
         !path.ends_with("/..") && path.find_first_not_of(kAllowed) == std::string_view::npos;
}

/// A path of the host's, which stands in double quotes.
bool can_be_quoted(std::string_view path) {
  return std::ranges::none_of(path, [](char c) { return c == '"' || c == '?' || c < ' '; });
}

/// "Inode: 12   Type: regular    Mode:  0644   Flags: 0x80000" has its values behind words.
std::optional<std::string_view> word_after(std::string_view line, std::string_view key) {
  const std::size_t at = line.find(key);
  if (at == std::string_view::npos) return std::nullopt;
  std::string_view rest = line.substr(at + key.size());
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  return rest.substr(0, rest.find(' '));
}

std::uint64_t number_after(std::string_view line, std::string_view key) {
  return parse_u64(word_after(line, key).value_or("")).value_or(0);
}

unsigned octal(std::string_view text) {
  unsigned value = 0;
  for (const char c : text.substr(0, 8)) {
    if (c < '0' || c > '7') return value;
    value = value * 8 + static_cast<unsigned>(c - '0');
  }
  return value;
}

GuestEntry::Type type_of(std::string_view word) {
  if (word == "regular") return GuestEntry::Type::file;
  if (word == "directory") return GuestEntry::Type::folder;
  if (word == "symlink") return GuestEntry::Type::link;
  return GuestEntry::Type::other;
}

/// Each folder above `path`, the outermost first.
std::vector<std::string> folders_above(std::string_view path) {
  std::vector<std::string> found;
  for (std::size_t at = path.find('/', 1); at != std::string_view::npos;
       at = path.find('/', at + 1))
    found.emplace_back(path.substr(0, at));
  return found;
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}
std::string name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::vector<std::string> touched(const GuestChanges& changes) {
  std::vector<std::string> paths = changes.removed;
  for (const GuestFile& file : changes.files) paths.push_back(file.path);
  for (const GuestLink& link : changes.links) paths.push_back(link.path);
  return paths;
}

/// `target` of a link at `path`, as a path of its own.
std::string resolve(const std::string& path, const std::string& target) {
  const fs::path joined =
      target.starts_with('/') ? fs::path(target) : fs::path(path).parent_path() / target;
  return joined.lexically_normal().string();
}

Error wrote_otherwise(const std::string& path) {
  return {.message = fmt::format("debugfs did not write {} as it should be", printable(path))};
}

}  // namespace

std::map<std::string, GuestEntry> parse_stats(std::string_view output) {
  constexpr std::string_view kCommand = "debugfs: stat ";
  constexpr std::string_view kTarget = "Fast link dest: \"";
  Entries found;
  GuestEntry* entry = nullptr;
  for (const std::string_view line : split(output, '\n')) {
    if (line.starts_with(kCommand)) {
      entry = &found[std::string(trim(line.substr(kCommand.size())))];
    } else if (entry == nullptr) {
      continue;
    } else if (line.starts_with("Inode: ")) {
      entry->type = type_of(word_after(line, "Type:").value_or(""));
      entry->mode = octal(word_after(line, "Mode:").value_or("")) & 07777;
    } else if (line.starts_with("User: ")) {
      entry->uid = static_cast<std::uint32_t>(number_after(line, "User:"));
      entry->gid = static_cast<std::uint32_t>(number_after(line, "Group:"));
      entry->size = number_after(line, "Size:");
    } else if (line.starts_with(kTarget) && line.ends_with('"')) {
      entry->target = line.substr(kTarget.size(), line.size() - kTarget.size() - 1);
    }
  }
  return found;
}

bool debugfs_takes(const fs::path& path) { return can_be_quoted(path.string()); }

Result<std::string> GuestFiles::run(const std::string& script, bool write) const {
  if (!debugfs_takes(work_) || !debugfs_takes(disk_))
    return fail("debugfs cannot be told the name {}", printable(work_.string()));
  const auto program = sys::find_program("debugfs");
  if (!program) {
    return fail(Error{.message = "cannot look into the image: debugfs is missing",
                      .fix = "sudo apt-get install e2fsprogs"});
  }
  const fs::path commands = work_ / "script";
  PINHOLE_TRY_VOID(sys::write_file_atomic(commands, script));
  sys::FileView view{.paths = sys::runtime_libraries()};
  view.paths.push_back({.path = *program, .access = Access::execute});
  view.paths.push_back({.path = work_, .access = Access::write});
  view.paths.push_back({.path = disk_, .access = write ? Access::write : Access::read});
  sys::Command command{
      .program = *program,
      .args = {"-f", commands.string(), fmt::format("{}?offset={}", disk_.string(), offset_)},
      .environment = {{"PATH", "/usr/bin:/bin"}, {"LC_ALL", "C.UTF-8"}},
      .filter = sys::SpawnFilter::descriptors_only};
  if (write) command.args.insert(command.args.begin(), "-w");
  PINHOLE_TRY(command.isolation, sys::available_here(sys::apart(std::move(view))));
  PINHOLE_TRY(auto output, sys::run(std::move(command), {.time = kLimit, .bytes = kMostOutput}));
  // It goes on without the file system, and its status says nothing.
  for (const std::string_view line : split(output.err, '\n')) {
    if (line.contains("unsupported feature")) {
      return fail(Error{.message = printable(trim(line), 200),
                        .code = std::string(failures::kImportRootTooNew.code)});
    }
  }
  if (output.status.ok()) return std::move(output.out);
  return fail(Error{.message = fmt::format("debugfs {}", output.status.text()),
                    .details = {printable(trim(output.err), 400)}});
}

Result<Entries> GuestFiles::look(const std::vector<std::string>& paths) const {
  std::string script;
  for (const std::string& path : paths) {
    if (is_plain(path)) script += fmt::format("stat {}\n", path);
  }
  PINHOLE_TRY(const std::string output, run(script, false));
  Entries found = parse_stats(output);
  for (const std::string& path : paths) found.try_emplace(path);
  return found;
}

Result<std::vector<std::string>> GuestFiles::names(const std::string& folder) const {
  std::vector<std::string> found;
  if (!is_plain(folder)) return found;
  PINHOLE_TRY(const std::string output, run(fmt::format("ls -p {}\n", folder), false));
  for (const std::string_view line : split(output, '\n')) {
    const auto parts = split(line, '/');  // "/inode/mode/uid/gid/name/size/"
    if (parts.size() != 8 || !is_plain(parts[5]) || parts[5].starts_with('.')) continue;
    if (found.size() == kMostNames) break;
    found.emplace_back(parts[5]);
  }
  return found;
}

Result<std::string> GuestFiles::dump(const std::string& path, std::uint64_t limit) const {
  const fs::path copy = work_ / "copy";
  std::error_code error;
  fs::remove(copy, error);
  PINHOLE_TRY_VOID(run(fmt::format("dump {} \"{}\"\n", path, copy.string()), false));
  return sys::read_file(copy, limit);
}

Result<std::string> GuestFiles::read(const std::string& path, std::uint64_t limit) const {
  std::string at = path;
  for (std::size_t links = 0; links <= kMostLinks && is_plain(at); ++links) {
    PINHOLE_TRY(const Entries found, look({at}));
    const GuestEntry& entry = found.at(at);
    if (entry.type == GuestEntry::Type::link) {
      at = resolve(at, entry.target);
      continue;
    }
    if (entry.type != GuestEntry::Type::file || entry.size > limit) return std::string();
    return dump(at, limit);
  }
  return std::string();
}

Result<std::string> GuestFiles::script_of(const GuestChanges& changes) const {
  std::set<std::string> folders;
  for (const std::string& path : touched(changes)) {
    if (!is_plain(path) || !path.starts_with('/'))
      return fail("cannot tell debugfs the name {}", printable(path));
    for (std::string& folder : folders_above(path)) folders.insert(std::move(folder));
  }
  std::vector<std::string> asked = touched(changes);
  asked.insert(asked.end(), folders.begin(), folders.end());
  PINHOLE_TRY(const Entries found, look(asked));
  std::string script;
  for (const std::string& folder : folders)  // sorted: outer ones come first
    if (!found.at(folder).exists()) script += fmt::format("mkdir {}\n", folder);
  for (const std::string& path : touched(changes)) {
    if (found.at(path).type == GuestEntry::Type::folder)
      return fail("{} is a folder", printable(path));
    if (found.at(path).exists()) script += fmt::format("rm {}\n", path);
  }
  std::size_t number = 0;
  for (const GuestFile& file : changes.files) {
    const fs::path copy = work_ / fmt::format("file-{}", number++);
    PINHOLE_TRY_VOID(sys::write_file_atomic(copy, file.content));
    script += fmt::format("cd {}\nwrite \"{}\" {}\n", folder_of(file.path), copy.string(),
                          name_of(file.path));
    script += fmt::format("sif {0} mode 0100{1:03o}\nsif {0} uid 0\nsif {0} gid 0\n", file.path,
                          file.mode);
  }
  for (const GuestLink& link : changes.links) {
    script += fmt::format("symlink {} {}\n", link.path, link.target);
    script += fmt::format("sif {0} uid 0\nsif {0} gid 0\n", link.path);
  }
  return script;
}

Result<void> GuestFiles::verify(const GuestChanges& changes) const {
  PINHOLE_TRY(const Entries found, look(touched(changes)));
  std::string script;
  for (const GuestFile& file : changes.files) {
    const GuestEntry wanted{
        .type = GuestEntry::Type::file, .mode = file.mode, .size = file.content.size()};
    if (found.at(file.path) != wanted) return fail(wrote_otherwise(file.path));
    script +=
        fmt::format("dump {} \"{}\"\n", file.path, back(&file - changes.files.data()).string());
  }
  PINHOLE_TRY_VOID(run(script, false));
  for (const GuestFile& file : changes.files) {
    PINHOLE_TRY(const std::string content,
                sys::read_file(back(&file - changes.files.data()), file.content.size()));
    if (content != file.content) return fail(wrote_otherwise(file.path));
  }
  for (const GuestLink& link : changes.links) {
    const GuestEntry& entry = found.at(link.path);
    if (entry.type != GuestEntry::Type::link || entry.target != link.target)
      return fail(wrote_otherwise(link.path));
  }
  for (const std::string& path : changes.removed)
    if (found.at(path).exists()) return fail("debugfs did not remove {}", printable(path));
  return {};
}

Result<void> GuestFiles::apply(const GuestChanges& changes) const {
  PINHOLE_TRY(const std::string script, script_of(changes));
  PINHOLE_TRY_VOID(run(script, true));
  return verify(changes);
}

}  // namespace pinhole::image
