// Shared memory of one block, with a record of who wrote and read each word when.
//
// Races are found by vector clocks, one entry a warp: an access must come after a barrier that its predecessor's warp took part
// in, whatever order the emulator happened to run them in. Lanes of one warp are not told apart. Engines beside the warps (bulk copies,
// products of warpgroups) see what ordinary stores wrote only behind a fence that lies between: a second clock a warp says which do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace espalier::kernels::emulator {

class SharedMemory {
 public:
  /// By warp, and last by engine: the latest epoch that is known of, and the latest with a fence since.
  struct Clock {
    std::vector<std::uint32_t> seen, fenced;
  };
  /// How a word was written. Engines see at once what engines wrote.
  enum class Proxy : std::uint8_t { ordinary, engine };

  SharedMemory(std::size_t bytes, int warps);

  /// Each returns a complaint, empty when the access is right. Ranges are whole 4-byte words.
  [[nodiscard]] std::string read(int warp, std::uint32_t at, std::uint32_t bytes);
  [[nodiscard]] std::string write(int warp, std::uint32_t at, std::uint32_t bytes);
  /// An asynchronous copy was issued: until it lands nobody may touch the words, which are poisoned.
  [[nodiscard]] std::string begin_copy(int warp, std::uint32_t at, std::uint32_t bytes);
  void land_copy(int warp, std::uint32_t at, std::uint32_t bytes);

  // Bulk copies are written by an engine.
  [[nodiscard]] std::string begin_bulk_copy(int warp, std::uint32_t at, std::uint32_t bytes);
  /// What a barrier counted, bulk copies or ordinary asynchronous ones, is seen by those who acquire its `clock`.
  void land_counted_copy(std::uint32_t at, std::uint32_t bytes, Proxy proxy, Clock& clock);
  /// What the warp did and knows of so far, engines see, too: its own, and those that learn of it from the warp.
  void fence_engine(int warp);

  /// The engine of products reads the words, on behalf of a warp, until end_matrix_read(): nobody may write them before.
  [[nodiscard]] std::string begin_matrix_read(int warp, std::uint32_t at, std::uint32_t bytes);
  void end_matrix_read(int warp, std::uint32_t at, std::uint32_t bytes);

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
    std::uint32_t epoch = 0;  ///< of the writer
    std::uint8_t warp = 0;    ///< or engine
    State state = State::uninitialised;
    Proxy proxy = Proxy::ordinary;
    std::uint16_t matrix_reads = 0;  ///< under way, one a product and warp
  };
  std::string range_complaint(const char* verb, std::uint32_t at, std::uint32_t bytes) const;
  std::string read_complaint(int warp, std::size_t word) const;
  std::string write_complaint(int warp, std::size_t word) const;
  std::string writer_text(const Word& word) const;
  /// into = the larger of itself and the row of `warp`, number by number.
  void raise(std::vector<std::uint32_t>& into, const std::vector<std::uint32_t>& rows, int warp) const;
  std::uint32_t& clock(int knower, int known) { return clocks_[index(knower, known)]; }
  std::uint32_t clock(int knower, int known) const { return clocks_[index(knower, known)]; }
  /// Ordinary writes that an engine, asked by `warp`, doesn't see.
  bool unfenced(int warp, const Word& word) const { return word.proxy == Proxy::ordinary && fenced_[index(warp, word.warp)] < word.epoch; }
  std::size_t index(int a, int b) const { return static_cast<std::size_t>(a) * static_cast<std::size_t>(warps_) + static_cast<std::size_t>(b); }

  std::size_t engine() const { return static_cast<std::size_t>(warps_) - 1; }

  int warps_;  ///< and the engine of copies that barriers count, the last
  std::vector<std::byte> bytes_;
  std::vector<Word> words_;
  std::vector<std::uint32_t> read_epochs_;  ///< [word][warp]
  std::vector<std::uint32_t> clocks_;       ///< [knower][known]: the latest epoch of `known` that `knower` is after
  std::vector<std::uint32_t> fenced_;       ///< [knower][known]: likewise, with a fence between
};

}  // namespace espalier::kernels::emulator
