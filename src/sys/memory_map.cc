// SPDX-License-Identifier: Apache-2.0
#include "sys/memory_map.h"

#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <limits>

namespace pinhole::sys {
namespace {

/// What mmap's offset and munmap's length must be multiples of.
std::uint64_t page_size_of(int fd) {
  struct statfs info{};
  if (::fstatfs(fd, &info) == 0 && info.f_type == HUGETLBFS_MAGIC) {
    return static_cast<std::uint64_t>(info.f_bsize);
  }
  return static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

Result<MemoryMap> MemoryMap::map_shared(int fd, std::uint64_t offset, std::uint64_t size) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return fail("cannot inspect shared memory: {}", errno_text(errno));
  if (!S_ISREG(info.st_mode)) return fail("cannot map shared memory: it is not a file");
  const auto file_size = static_cast<std::uint64_t>(info.st_size);
  if (size == 0 || offset > file_size || size > file_size - offset) {
    return fail("cannot map shared memory: {} bytes at {} of a file of {}", size, offset,
                file_size);
  }
  const std::uint64_t page = page_size_of(fd);
  const std::uint64_t lead = offset % page;
  if (size > std::numeric_limits<std::size_t>::max() / 2 - lead - page) {
    return fail("cannot map shared memory: {} bytes are too many", size);
  }
  const std::uint64_t length = (lead + size + page - 1) / page * page;
  void* base = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
                      static_cast<off_t>(offset - lead));
  if (base == MAP_FAILED) return fail("cannot map shared memory: {}", errno_text(errno));
  ::madvise(base, length, MADV_DONTDUMP);
  MemoryMap map;
  map.base_ = base;
  map.mapped_ = length;
  map.bytes_ = {static_cast<std::uint8_t*>(base) + lead, static_cast<std::size_t>(size)};
  return map;
}

MemoryMap& MemoryMap::operator=(MemoryMap&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(mapped_, other.mapped_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

MemoryMap::~MemoryMap() {
  if (base_ != nullptr) ::munmap(base_, mapped_);
}

Result<Fd> make_memory_file(const char* name, std::uint64_t size) {
  Fd file(::memfd_create(name, MFD_CLOEXEC));
  if (!file) return fail("cannot create a memory file: {}", errno_text(errno));
  if (::ftruncate(file.get(), static_cast<off_t>(size)) != 0) {
    return fail("cannot size a memory file to {} bytes: {}", size, errno_text(errno));
  }
  return file;
}

}  // namespace pinhole::sys
