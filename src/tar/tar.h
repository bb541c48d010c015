// SPDX-License-Identifier: Apache-2.0
// Files and folders as a tar stream (pax, uncompressed; POSIX.1-2017 pax, "ustar Interchange Format"
// and extended headers), between a host and its guest. Both directions on both sides are these two
// functions. They block, as the file systems below them do.
//
// An archive from a guest is hostile: see UnpackRules. What a guest may write while it is read or
// unpacked (a shared folder) is too: each step is openat2(2) beneath the folder, without links.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace pinhole::tar {

/// Where an archive goes, and where it comes from: how many bytes were read, 0 at the end.
using Sink = std::function<Result<void>(std::string_view bytes)>;
using Source = std::function<Result<std::size_t>(std::span<char> into)>;

/// All that an archive held. Both sides count the same, so that a cut one shows.
struct Tally {
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;  // of files, holes included
  /// Names of entries that were passed over: sockets; and by UnpackRules links, devices and FIFOs.
  /// The first 20, and how many.
  std::vector<std::string> left_out = {};
  std::uint64_t left_out_count = 0;
};

/// `path` and all below it, with `name` as the archive's top. A link is packed as a link, `path`
/// itself too; other names of a file that was packed already as hard links; a sparse file with its
/// holes. Owners are numbers, times have nanoseconds. Error code "not_found" where `path` is not.
Result<Tally> pack(const std::filesystem::path& path, const std::string& name, const Sink& sink);

struct UnpackRules {
  /// Owners, setuid, setgid and sticky bits, devices, FIFOs and links to anywhere, as the archive
  /// says: right for whoever is root where it unpacks. Otherwise all belongs to the caller, modes
  /// have rwx bits only, and devices, FIFOs and links that lead out of the archive's top (absolute,
  /// or with `..` beyond it or after a name) are left out.
  bool trusting = false;
  std::uint64_t most_entries = 1'000'000;
  std::uint64_t most_bytes = std::uint64_t{1} << 40;
};

/// Unpacks an archive whose only top is `top` into `folder`, where that top is then called `name`.
/// Folders that are there are gone into and stay as they are; other things that are there are
/// replaced, never followed or written through; `folder` itself may be a link. An archive with absolute names, `..`, several tops, hard links
/// to what it does not hold, or more than the rules allow, or one that is cut, is an error; its message says what remains of it.
Result<Tally> unpack(const Source& source, const std::string& top,
                     const std::filesystem::path& folder, const std::string& name,
                     const UnpackRules& rules);

/// Where an archive called `top` is to be unpacked so that it ends up at `path`, as `cp -r` and
/// `docker cp` do it: in `path` where that is a folder, else beside it under its last name. Error
/// code "not_found" where the folder above is not.
struct Place {
  std::filesystem::path folder;
  std::string name;
};
Result<Place> place_for(const std::filesystem::path& path, const std::string& top);
/// What the top is called for `path`: its last name, also of "folder/" and "folder/.".
std::string top_name(const std::filesystem::path& path);

}  // namespace pinhole::tar
