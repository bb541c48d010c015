// SPDX-License-Identifier: Apache-2.0
#include "supervisor/report_line.h"

#include <unistd.h>

#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "sys/process.h"
#include "sys/unix_socket.h"

namespace pinhole::supervisor {
namespace {

using namespace std::chrono_literals;

struct Pipe {
  Pipe() {
    auto ends = sys::make_pipe().value();
    reader = std::move(ends.first);
    writer = std::move(ends.second);
    sys::set_nonblocking(writer.get());
  }
  std::size_t fill() {
    const std::string block(4096, 'x');
    std::size_t all = 0;
    while (::write(writer.get(), block.data(), block.size()) > 0) all += block.size();
    return all;
  }
  std::string read(std::size_t size) const {
    std::string out(size, 0);
    std::size_t got = 0;
    while (got < size) {
      const ssize_t n = ::read(reader.get(), out.data() + got, size - got);
      if (n <= 0) break;
      got += static_cast<std::size_t>(n);
    }
    out.resize(got);
    return out;
  }
  Fd reader, writer;
};

TEST(ReportLine, ALongOneArrivesWholeThroughAPipeThatIsFull) {
  Pipe pipe;
  const std::size_t before = pipe.fill();
  const std::string line = std::string(20'000, 'y') + "\n";
  bool whole = false;
  std::thread writes([&] { whole = write_report_line(pipe.writer.get(), line, 60s); });
  EXPECT_EQ(pipe.read(before), std::string(before, 'x'));
  EXPECT_EQ(pipe.read(line.size()), line);
  writes.join();
  EXPECT_TRUE(whole);
}

TEST(ReportLine, AShortOneIsLostWhereNobodyReadsAndNobodyWaits) {
  Pipe pipe;
  const std::size_t before = pipe.fill();
  EXPECT_TRUE(write_report_line(pipe.writer.get(), "short\n", 1h));
  pipe.read(before);
  EXPECT_TRUE(write_report_line(pipe.writer.get(), "next\n", 1h));
  EXPECT_EQ(pipe.read(5), "next\n");
}

TEST(ReportLine, ATornOneIsTold) {
  Pipe pipe;
  pipe.fill();
  pipe.read(4096);
  EXPECT_FALSE(write_report_line(pipe.writer.get(), std::string(20'000, 'y'), 10ms));
}

}  // namespace
}  // namespace pinhole::supervisor
