// SPDX-License-Identifier: Apache-2.0
#include "config/share.h"

#include <algorithm>
#include <array>

#include "base/printable.h"
#include "base/strings.h"
#include "config/paths.h"

namespace pinhole::config {
namespace {

constexpr std::size_t kShown = 100;

/// The guest's own system: neither they nor what is in them.
constexpr std::array<std::string_view, 12> kSystemFolders = {
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr",
    // Where programs of the guest's own users find their keys and units.
    "/var/lib/cloud"};
/// What is in them belongs to others as well; a folder in them may be shared.
constexpr std::array<std::string_view, 6> kParents = {"/home", "/root",    "/tmp",
                                                      "/var",  "/var/lib", "/var/tmp"};

Error bad_path(std::string_view path, std::string_view why) {
  return {.message = fmt::format("cannot share a folder at {} in the guest: {}",
                                 printable(path, kShown), why),
          .fix = "name a place of its own, as in -w ./data:/data",
          .exit_status = 2};
}

bool is_plain(std::string_view path) {
  // As it stands in the guest's /proc/self/mounts, which writes some characters in another way.
  return std::ranges::all_of(path,
                             [](char c) { return c > ' ' && c < 0x7f && c != '\\' && c != '#'; });
}

}  // namespace

bool is_at_or_below(std::string_view path, std::string_view folder) {
  return path == folder ||
         (path.starts_with(folder) && path.substr(folder.size()).starts_with('/'));
}

Result<std::string> valid_guest_path(std::string_view path) {
  if (!path.starts_with('/')) return fail(bad_path(path, "that is not an absolute path"));
  if (path.size() > kLongestGuestPath)
    return fail(bad_path(path, fmt::format("that is longer than {} bytes", kLongestGuestPath)));
  if (!is_plain(path))
    return fail(
        bad_path(path, "it has a character other than printable ASCII, or a space, # or \\"));
  const std::string_view whole = path;
  while (path.ends_with('/')) path.remove_suffix(1);
  if (path.empty()) return fail(bad_path(whole, "that is the guest's whole system"));
  for (const std::string_view part : split(path.substr(1), '/')) {
    if (part.empty() || part == "." || part == "..")
      return fail(bad_path(whole, "it has an empty name, \".\" or \"..\" in it"));
  }
  for (const std::string_view folder : kSystemFolders) {
    if (is_at_or_below(path, folder))
      return fail(bad_path(whole, fmt::format("{} belongs to the guest's own system", folder)));
  }
  if (std::ranges::find(kParents, path) != kParents.end())
    return fail(bad_path(whole, "what is there belongs to the guest's own system"));
  return std::string(path);
}

Result<ShareWish> parse_share_wish(std::string_view word) {
  ShareWish wish{.host = {}, .guest = std::string(kWorkspacePath)};
  const std::string_view whole = word;
  if (word.ends_with(":ro") || word.ends_with(":rw")) {
    wish.read_only = word.ends_with(":ro");
    word.remove_suffix(3);
  }
  if (const std::size_t colon = word.rfind(':'); colon != std::string_view::npos) {
    PINHOLE_TRY(wish.guest, valid_guest_path(word.substr(colon + 1)));
    word = word.substr(0, colon);
  }
  wish.host = std::string(word);
  if (!wish.host.empty()) return wish;
  return fail(
      Error{.message = fmt::format("\"{}\" names no folder of this host", printable(whole, kShown)),
            .fix = "-w FOLDER, or -w FOLDER:/path/in/guest, either with :ro behind it",
            .exit_status = 2});
}

std::string share_tag(std::size_t number) { return fmt::format("share-{}", number); }

std::vector<CacheFolder> cache_folders(std::string_view tool) {
  constexpr std::array kFolders = {
      CacheFolder{"npm", "npm", ".npm"},
      CacheFolder{"pip", "pip", ".cache/pip"},
      CacheFolder{"cargo", "cargo", ".cargo/registry"},
      CacheFolder{"go", "go", "go/pkg/mod"},
      CacheFolder{"go", "go-build", ".cache/go-build"},
  };
  std::vector<CacheFolder> out;
  for (const CacheFolder& folder : kFolders) {
    if (folder.tool == tool) out.push_back(folder);
  }
  return out;
}

Result<CacheWish> parse_cache_wish(std::string_view word) {
  const std::size_t colon = word.find(':');
  auto name = valid_vm_name(word.substr(0, colon));
  if (!name) {
    return fail(Error{
        .message = fmt::format("\"{}\" cannot be a cache's name: {}",
                               printable(word.substr(0, colon), kShown), name.error().message),
        .fix = "--cache npm, or --cache NAME:/path/in/guest",
        .exit_status = 2});
  }
  CacheWish wish{.name = *std::move(name), .guest = {}};
  if (colon != std::string_view::npos) {
    PINHOLE_TRY(wish.guest, valid_guest_path(word.substr(colon + 1)));
  } else if (cache_folders(wish.name).empty()) {
    return fail(Error{.message = fmt::format("where in the guest is the cache \"{}\"?", wish.name),
                      .fix = fmt::format("--cache {}:/path/in/guest (npm, pip, cargo and go are "
                                         "known without)",
                                         wish.name),
                      .exit_status = 2});
  }
  return wish;
}

std::optional<std::string> overlap_problem(const std::vector<std::string>& guest_paths) {
  for (auto one = guest_paths.begin(); one != guest_paths.end(); ++one) {
    for (auto other = one + 1; other != guest_paths.end(); ++other) {
      if (*one == *other) return fmt::format("two folders cannot both be at {}", *one);
      if (is_at_or_below(*one, *other)) return fmt::format("{} lies inside of {}", *one, *other);
      if (is_at_or_below(*other, *one)) return fmt::format("{} lies inside of {}", *other, *one);
    }
  }
  return std::nullopt;
}

}  // namespace pinhole::config
