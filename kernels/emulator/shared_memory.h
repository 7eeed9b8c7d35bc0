// Shared memory of one block, with a record of who wrote and read each word when.
//
// Races are found by vector clocks, one entry a warp: an access must come after a barrier that its predecessor's warp took part
// in, whatever order the emulator happened to run them in. Lanes of one warp are not told apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace espalier::kernels::emulator {

class SharedMemory {
 public:
  /// By warp, and last by engine: the latest epoch that is known of.
  using Clock = std::vector<std::uint32_t>;

  SharedMemory(std::size_t bytes, int warps);

  /// Each returns a complaint, empty when the access is right. Ranges are whole 4-byte words.
  [[nodiscard]] std::string read(int warp, std::uint32_t at, std::uint32_t bytes);
  [[nodiscard]] std::string write(int warp, std::uint32_t at, std::uint32_t bytes);
  /// An asynchronous copy was issued: until it lands nobody may touch the words, which are poisoned.
  [[nodiscard]] std::string begin_copy(int warp, std::uint32_t at, std::uint32_t bytes);
  void land_copy(int warp, std::uint32_t at, std::uint32_t bytes);

  // Bulk copies are written by an engine beside the warps, which sees ordinary stores only after a fence of the warp that made them.
  [[nodiscard]] std::string begin_bulk_copy(int warp, std::uint32_t at, std::uint32_t bytes);
  /// What the engine wrote is seen by those who acquire `clock`.
  void land_bulk_copy(std::uint32_t at, std::uint32_t bytes, Clock& clock);
  void fence_engine(int warp) { ++fences_[static_cast<std::size_t>(warp)]; }

  /// What a warp did, and knows of, so far is before what those do next who acquire the clock later.
  void release(int warp, Clock& clock);
  void acquire(int warp, const Clock& clock);
  /// Words of a barrier object: ordinary accesses to them are wrong from now on.
  [[nodiscard]] std::string reserve(int warp, std::uint32_t at, std::uint32_t bytes);

  /// The warps met at a barrier: what each did is before what any of them does next.
  void synchronise(const std::vector<int>& warps);

  std::byte* data() { return bytes_.data(); }
  std::size_t size() const { return bytes_.size(); }

 private:
  enum class State : std::uint8_t { uninitialised, valid, in_flight, barrier };
  struct Word {
    std::uint32_t epoch = 0;   ///< of the writer
    std::uint32_t fences = 0;  ///< of the writer until then
    std::uint8_t warp = 0;
    State state = State::uninitialised;
  };
  std::string range_complaint(const char* verb, std::uint32_t at, std::uint32_t bytes) const;
  std::string write_complaint(int warp, std::size_t word) const;
  std::string writer_text(const Word& word) const;
  std::uint32_t& clock(int knower, int known) { return clocks_[index(knower, known)]; }
  std::uint32_t clock(int knower, int known) const { return clocks_[index(knower, known)]; }
  std::size_t index(int a, int b) const { return static_cast<std::size_t>(a) * static_cast<std::size_t>(warps_) + static_cast<std::size_t>(b); }

  std::size_t engine() const { return static_cast<std::size_t>(warps_) - 1; }

  int warps_;  ///< and the engine of bulk copies, the last
  std::vector<std::byte> bytes_;
  std::vector<Word> words_;
  std::vector<std::uint32_t> read_epochs_;  ///< [word][warp]
  std::vector<std::uint32_t> fences_;       ///< [warp]
  std::vector<std::uint32_t> clocks_;       ///< [knower][known]: the latest epoch of `known` that `knower` is after
};

}  // namespace espalier::kernels::emulator
