// SPDX-License-Identifier: Apache-2.0
// Seed images and disks that somebody else made. An image is described by how it differs from a
// good one, so that inputs stay small and hit what is read: volume descriptors, path tables,
// folders, file contents.
#include "image/seed.h"

#include <sys/mman.h>
#include <unistd.h>

#include <vector>

#include <fmt/format.h>

#include "base/fd.h"
#include "fuzz/fuzz.h"
#include "image/iso.h"
#include "sys/memory_map.h"

namespace pinhole::image {
namespace {

constexpr std::size_t kSector = 2048;

std::string good_image() {
  return seed_iso({.user_data = "#cloud-config\nusers: []\n", .instance_id = "iid-1"}).value();
}

/// Sectors of the good image that hold anything, and the one behind each of them.
std::vector<std::size_t> sectors_in_use(std::string_view image) {
  std::vector<std::size_t> sectors;
  for (std::size_t at = 0; at + kSector <= image.size(); at += kSector) {
    if (image.substr(at, kSector).find_first_not_of('\0') != std::string_view::npos)
      sectors.push_back(at);
  }
  return sectors;
}

class Changed {
 public:
  Changed() : file_(sys::make_memory_file("seed", 0).value()) {}

  void play(fuzz::Input input) {
    static const std::string good = good_image();
    static const std::vector<std::size_t> sectors = sectors_in_use(good);
    std::string image = good;
    while (!input.empty()) {
      const std::size_t at = sectors[input.byte() % sectors.size()];
      switch (input.byte() % 4) {
        case 0:
          image.resize(std::min(image.size(), at + input.number(2) % kSector));
          break;
        case 1: {
          const std::string copy = image.substr(std::min(at, image.size()), kSector);
          const std::size_t to = sectors[input.byte() % sectors.size()];
          if (to + copy.size() <= image.size()) image.replace(to, copy.size(), copy);
          break;
        }
        default: {
          const std::size_t offset = at + input.number(2) % kSector;
          const std::string_view bytes = input.text(input.byte() % 64);
          if (offset + bytes.size() <= image.size()) image.replace(offset, bytes.size(), bytes);
          break;
        }
      }
    }
    inspect(image);
  }

 private:
  void inspect(std::string_view image) {
    PINHOLE_CHECK(::ftruncate(file_.get(), static_cast<off_t>(image.size())) == 0);
    PINHOLE_CHECK(::pwrite(file_.get(), image.data(), image.size(), 0) ==
                  static_cast<ssize_t>(image.size()));
    PINHOLE_CHECK(::lseek(file_.get(), 0, SEEK_SET) == 0);
    const auto report = inspect_seed(fmt::format("/proc/self/fd/{}", file_.get()));
    if (!report) return;
    PINHOLE_CHECK(report->size == image.size() && report->files.size() <= kMaxIsoEntries);
    PINHOLE_CHECK(report->problems.size() < 40);
    for (const Error& problem : report->problems) {
      for (const char c : problem.message)
        PINHOLE_CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
    }
  }

  Fd file_;
};

}  // namespace
}  // namespace pinhole::image

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pinhole::fuzz::Input input(data, size);
  (void)input.byte();  // what it once chose has a target of its own
  static pinhole::image::Changed changed;
  changed.play(input);
  return 0;
}
