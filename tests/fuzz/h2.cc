// SPDX-License-Identifier: Apache-2.0
// A guest that speaks HTTP/2: the bytes after the preface into the door's own session, under a policy
// that allows nothing. Whatever the frames, the session ends when its connection does, what it sends
// is frames in order, no request is answered as if it were allowed, and a little input makes little
// output.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "fuzz/fuzz.h"
#include "pep/h2_session.h"
#include "sys/files.h"

namespace pinhole::pep {
namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr std::size_t kFrameHead = 9;
constexpr std::size_t kLargestFrame = 16 << 10;

/// A pipe in a log's place: nobody else holds its lock, and what is in it is thrown away.
class Drain {
 public:
  Drain() {
    constexpr int kRoom = 1 << 20;  // for one input's records
    PINHOLE_CHECK(::mkfifo(path().c_str(), 0600) == 0);
    read_ = Fd(::open(path().c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    PINHOLE_CHECK(::fcntl(read_.get(), F_SETPIPE_SZ, kRoom) >= kRoom);
  }
  [[nodiscard]] std::string path() const { return (folder_.path() / "log").string(); }
  void empty() {
    char piece[64 << 10];
    while (::read(read_.get(), piece, sizeof piece) > 0) {
    }
  }

 private:
  sys::TempDir folder_ = sys::TempDir::make().value();
  Fd read_;
};

/// One for all inputs.
struct World {
  Drain log;
  asio::io_context context{1};
  Door door{
      context, policy::Policy(),
      AuditLog::open(log.path(), {.vm = "f", .boot = "f", .image = "", .policy = "p"}).value(),
      Times{}};
};
World& world() {
  static World it;
  return it;
}

struct Frame {
  std::uint8_t type = 0;
  std::uint8_t flags = 0;
  std::uint32_t stream = 0;
  std::string payload;
};

std::size_t number(std::string_view bytes) {
  std::size_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

/// The frames of `text`; what is left of a last one that is not whole stays in `text`.
std::vector<Frame> frames_of(std::string_view& text) {
  std::vector<Frame> frames;
  while (text.size() >= kFrameHead) {
    const std::size_t length = number(text.substr(0, 3));
    if (text.size() < kFrameHead + length) break;
    frames.push_back({.type = static_cast<std::uint8_t>(text[3]),
                      .flags = static_cast<std::uint8_t>(text[4]),
                      .stream = static_cast<std::uint32_t>(number(text.substr(5, 4)) & 0x7FFFFFFF),
                      .payload = std::string(text.substr(kFrameHead, length))});
    text.remove_prefix(kFrameHead + length);
  }
  return frames;
}

std::string bytes_of(const std::vector<Frame>& frames) {
  std::string out;
  for (const Frame& frame : frames) {
    for (const int shift : {16, 8, 0})
      out += static_cast<char>(frame.payload.size() >> shift & 0xFF);
    out += static_cast<char>(frame.type);
    out += static_cast<char>(frame.flags);
    for (const int shift : {24, 16, 8, 0}) out += static_cast<char>(frame.stream >> shift & 0xFF);
    out += frame.payload;
  }
  return out;
}

struct FreeInflater {
  void operator()(nghttp2_hd_inflater* inflater) const { nghttp2_hd_inflate_del(inflater); }
};

/// The status of an answer's head.
int status_in(nghttp2_hd_inflater* inflater, std::string_view block) {
  int status = 0;
  const auto* at = reinterpret_cast<const std::uint8_t*>(block.data());
  std::size_t left = block.size();
  while (true) {
    nghttp2_nv field;
    int flags = 0;
    const ssize_t taken = nghttp2_hd_inflate_hd2(inflater, &field, &flags, at, left, 1);
    PINHOLE_CHECK(taken >= 0);
    at += taken;
    left -= static_cast<std::size_t>(taken);
    if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
      const std::string_view name(reinterpret_cast<char*>(field.name), field.namelen);
      const std::string value(reinterpret_cast<char*>(field.value), field.valuelen);
      PINHOLE_CHECK(value.find_first_of(std::string_view("\r\n\0", 3)) == std::string::npos);
      if (name == ":status") status = std::stoi(value);
    }
    if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) break;
    PINHOLE_CHECK(taken > 0 || left > 0);
  }
  nghttp2_hd_inflate_end_headers(inflater);
  return status;
}

void check_output(std::string_view output, std::size_t input_size, std::uint64_t requests) {
  // An answer has about 600 bytes and needs a frame of nine; PING and SETTINGS are answered alike.
  constexpr std::size_t kPerByte = 100, kAlways = 1 << 10;
  PINHOLE_CHECK(output.size() <= kAlways + kPerByte * input_size);
  nghttp2_hd_inflater* made = nullptr;
  PINHOLE_CHECK(nghttp2_hd_inflate_new(&made) == 0);
  const std::unique_ptr<nghttp2_hd_inflater, FreeInflater> inflater(made);
  const auto frames = frames_of(output);
  std::uint64_t heads = 0;
  for (const Frame& frame : frames) {
    PINHOLE_CHECK(&frame != frames.data() || frame.type == NGHTTP2_SETTINGS);
    PINHOLE_CHECK(frame.payload.size() <= kLargestFrame);
    PINHOLE_CHECK(frame.type <= NGHTTP2_CONTINUATION && frame.type != NGHTTP2_PUSH_PROMISE);
    if (frame.type != NGHTTP2_HEADERS) continue;
    ++heads;
    // Our answers are shorter than a frame and not padded.
    PINHOLE_CHECK(frame.stream % 2 == 1 && (frame.flags & NGHTTP2_FLAG_END_HEADERS) != 0);
    PINHOLE_CHECK((frame.flags & (NGHTTP2_FLAG_PADDED | NGHTTP2_FLAG_PRIORITY)) == 0);
    const int status = status_in(inflater.get(), frame.payload);
    PINHOLE_CHECK(status >= 400 && status <= 503);
  }
  PINHOLE_CHECK(heads <= requests);
}

/// What the door has sent so far.
void drain(int fd, std::string& out) {
  char piece[32 << 10];
  for (ssize_t count = 0; (count = ::recv(fd, piece, sizeof piece, MSG_DONTWAIT)) > 0;)
    out.append(piece, static_cast<std::size_t>(count));
}

void play(std::string_view input) {
  constexpr std::size_t kLargest = 16 << 10;  // fits the socket
  if (input.size() > kLargest) return;
  World& all = world();
  all.context.restart();
  const std::uint64_t before = all.door.stats.requests;
  int ends[2];
  PINHOLE_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  const Fd peer(ends[1]);
  Connection guest(
      Connection::Socket(all.context, asio::generic::stream_protocol(AF_UNIX, 0), ends[0]));
  H2Session session(all.door, guest, std::nullopt);
  bool ended = false;
  asio::co_spawn(all.context, session.run(), [&](const std::exception_ptr& thrown) {
    PINHOLE_CHECK(!thrown);
    ended = true;
  });
  std::string output;
  const std::string start(kPreface);
  PINHOLE_CHECK(::send(peer.get(), start.data(), start.size(), MSG_NOSIGNAL) > 0);
  // In two reads, cut where the input says.
  const std::size_t cut = input.empty() ? 0 : static_cast<unsigned char>(input[0]) % input.size();
  for (const std::string_view part : {input.substr(0, cut), input.substr(cut)}) {
    if (!part.empty()) [[maybe_unused]]
      const auto sent = ::send(peer.get(), part.data(), part.size(), MSG_NOSIGNAL);
    while (all.context.poll() > 0) drain(peer.get(), output);
  }
  drain(peer.get(), output);
  session.close();
  for (int i = 0; i < 1000 && !ended; ++i) {
    all.context.restart();
    all.context.poll();
  }
  PINHOLE_CHECK(ended);
  all.log.empty();
  drain(peer.get(), output);
  check_output(output, input.size(), all.door.stats.requests - before);
}

/// Frames moved and changed, their lengths right again.
std::string rearranged(std::string_view text, fuzz::Dice& dice) {
  std::string_view rest = text;
  std::vector<Frame> frames = frames_of(rest);
  if (frames.empty()) frames.emplace_back();
  const std::size_t at = dice.below(frames.size());
  switch (dice.below(7)) {
    case 0:
      frames.insert(frames.begin() + static_cast<std::ptrdiff_t>(at),
                    frames[dice.below(frames.size())]);
      break;
    case 1:
      if (frames.size() > 1) frames.erase(frames.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    case 2:
      frames[at].type = static_cast<std::uint8_t>(dice.below(11));
      break;
    case 3:
      frames[at].flags ^= static_cast<std::uint8_t>(1U << dice.below(6));
      break;
    case 4:
      frames[at].stream = static_cast<std::uint32_t>(dice.below(12));
      break;
    default: {
      std::string payload = frames[at].payload;
      const std::size_t size = payload.size();
      payload.resize(size + 32);
      payload.resize(
          LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(payload.data()), size, payload.size()));
      frames[at].payload = std::move(payload);
    }
  }
  return bytes_of(frames).append(rest);
}

}  // namespace
}  // namespace pinhole::pep

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pinhole::pep::play(pinhole::fuzz::text_of(data, size));
  return 0;
}

std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                    unsigned int seed) {
  pinhole::fuzz::Dice dice(seed);
  if (size == 0 || dice.below(4) == 0) return LLVMFuzzerMutate(data, size, max_size);
  std::string text(pinhole::fuzz::text_of(data, size));
  for (std::size_t count = 1 + dice.below(3); count > 0; --count)
    text = pinhole::pep::rearranged(text, dice);
  return pinhole::fuzz::put_back(text, data, max_size);
}
