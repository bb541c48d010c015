// SPDX-License-Identifier: Apache-2.0
#include "review/store.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <memory>
#include <optional>

#include <boost/json.hpp>

#include "base/clock.h"
#include "base/json.h"
#include "base/printable.h"
#include "review/wire.h"
#include "sys/files.h"

namespace pinhole::review {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::int64_t kVersion = 1;
constexpr std::uint64_t kLargestRecord = 256 << 10;
constexpr std::size_t kLongestCommand = 4096;  // of it, as much is kept as serves to know it again

fs::path record_of(const fs::path& dir) { return dir / "review.json"; }

std::vector<std::string> names_in(const fs::path& reviews) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(reviews.c_str()), ::closedir);
  while (folder) {
    const dirent* entry = ::readdir(folder.get());
    if (entry == nullptr) break;
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  return names;
}

/// Overlayfs would mount without them, and fail later at what needs them.
Result<void> check_attributes(const fs::path& upper) {
  constexpr const char* kName = "user.pinhole";
  if (::setxattr(upper.c_str(), kName, "y", 1, 0) == 0) {
    (void)::removexattr(upper.c_str(), kName);
    return {};
  }
  return fail(Error{.message = fmt::format(
                        "the file system of {} has no user attributes, which a review needs: {}",
                        printable(upper.string()), errno_text(errno)),
                    .fix = "set XDG_STATE_HOME to a folder on ext4, xfs or btrfs"});
}

Result<void> make_layers(const Review& review) {
  struct stat info{};
  if (::stat(review.folder.c_str(), &info) != 0)
    return fail("cannot look at {}: {}", printable(review.folder.string()), errno_text(errno));
  // The folder's own mode is that of the upper layer.
  if (::mkdir(review.upper().c_str(), 0700) != 0 || ::mkdir(review.work().c_str(), 0700) != 0 ||
      ::chmod(review.upper().c_str(), info.st_mode & 0777) != 0)
    return fail("cannot make {}: {}", printable(review.upper().string()), errno_text(errno));
  return check_attributes(review.upper());
}

std::string record(const Review& review) {
  return json::serialize(json::object{{"version", kVersion},
                                      {"folder", to_hex(review.folder.string())},
                                      {"began", review.began},
                                      {"began_ns", review.began_ns},
                                      {"strict", review.strict},
                                      {"command", to_hex(review.command)}}) +
         "\n";
}

std::int64_t now_ns() {
  timespec now{};
  // As coarse as the kernel's own times of files are.
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

Result<Review> create(const fs::path& reviews, std::string_view name, const fs::path& folder,
                      std::string_view command, bool strict) {
  PINHOLE_TRY_VOID(sys::make_private_dir(reviews));
  if (names_in(reviews).size() >= kMostReviews) {
    return fail(Error{.message = fmt::format("{} runs wait to be applied or dropped", kMostReviews),
                      .fix = "pinhole review ls shows them; pinhole review drop NAME"});
  }
  Review review{.name = std::string(name),
                .dir = reviews / name,
                .folder = folder,
                .began = now_text(),
                .began_ns = now_ns(),
                .command = std::string(command.substr(0, kLongestCommand)),
                .strict = strict};
  if (::mkdir(review.dir.c_str(), 0700) != 0)
    return fail("cannot make {}: {}", printable(review.dir.string()), errno_text(errno));
  auto made = make_layers(review);
  if (made) made = sys::write_file_atomic(record_of(review.dir), record(review));
  if (!made) {
    (void)sys::remove_tree(review.dir);
    return std::unexpected(std::move(made).error());
  }
  return review;
}

Result<Review> open(const fs::path& reviews, std::string_view name) {
  const fs::path dir = reviews / name;
  PINHOLE_TRY(const std::string text, sys::read_file(record_of(dir), kLargestRecord));
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  const json::object empty;
  const json::object& object = !error && value.is_object() ? value.get_object() : empty;
  const json::value* version = object.if_contains("version");
  const json::value* began = object.if_contains("began_ns");
  const json::value* strict = object.if_contains("strict");
  const auto folder = from_hex(text_of(object, "folder"));
  const auto command = from_hex(text_of(object, "command"));
  if (version == nullptr || *version != kVersion || began == nullptr || !began->is_int64() ||
      strict == nullptr || !strict->is_bool() || !folder || !folder->starts_with('/') || !command)
    return fail("the record of the run {} is damaged", printable(name));
  return Review{.name = std::string(name),
                .dir = dir,
                .folder = *folder,
                .began = text_of(object, "began"),
                .began_ns = began->get_int64(),
                .command = *command,
                .strict = strict->get_bool()};
}

Listed list(const fs::path& reviews) {
  Listed out;
  for (const std::string& name : names_in(reviews)) {
    if (auto review = open(reviews, name)) {
      out.reviews.push_back(*std::move(review));
    } else {
      out.damaged.push_back(name);
    }
  }
  std::ranges::sort(out.reviews, {}, &Review::began_ns);
  return out;
}

Result<std::optional<Fd>> try_hold(const Review& review) {
  return sys::try_lock(review.dir / "lock");
}

Result<void> remove(const Review& review) { return sys::remove_tree(review.dir); }

}  // namespace pinhole::review
