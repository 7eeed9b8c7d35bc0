// espalier export: pictures and tables without a display.

#include <gmock/gmock.h>

#include "../viz/xml_check.h"
#include "command.h"

namespace espalier::apps {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class Export : public CommandTest {
 protected:
  void make_plan() {
    ASSERT_EQ(run("plan --tree '1,4,16|2048,512,128' --strategy cascade --device h100-sxm -o p.json").code, 0);
  }
};

TEST_F(Export, PictureOfAPlanIsWellFormedAndTheSameEachTime) {
  make_plan();
  ASSERT_EQ(run("export svg p.json -o a.svg").code, 0);
  const Result to_stdout = run("export svg - --device h100-sxm < p.json");
  EXPECT_EQ(viz::xml_fault(read("a.svg")), "");
  EXPECT_EQ(to_stdout.out, read("a.svg"));
  EXPECT_THAT(read("a.svg"), AllOf(HasSubstr("<title>task 0"), HasSubstr("<title>node 0: 2048 tokens"),
                                   HasSubstr("HBM"), HasSubstr("cascade on h100-sxm")));
  EXPECT_THAT(read("a.svg"), HasSubstr("prefers-color-scheme:dark"));
  EXPECT_THAT(run("export svg p.json --theme dark").out, Not(HasSubstr("prefers-color-scheme")));
}

TEST_F(Export, PictureOfAForestNeedsNoPlan) {
  ASSERT_EQ(run("trace gen --tree '1,4,16|2048,512,128' -o f.json").code, 0);
  const Result svg = run("export svg f.json --heads 8/2/64");
  EXPECT_EQ(svg.code, 0) << svg.err;
  EXPECT_EQ(viz::xml_fault(svg.out), "");
  EXPECT_THAT(svg.out, AllOf(HasSubstr("16 requests, 21 nodes"), HasSubstr("heads 8/2/64")));
}

TEST_F(Export, HostileNameStaysText) {
  write("f.jsonl", R"({"name": "</title><script>alert(1)</script>", "parent": [-1], "tokens": [5], "leaf": [0]})");
  const Result svg = run("export svg f.jsonl");
  EXPECT_EQ(svg.code, 0) << svg.err;
  EXPECT_THAT(svg.out, Not(HasSubstr("<script")));
  EXPECT_EQ(viz::xml_fault(svg.out), "");
}

TEST_F(Export, TablesOfAPlanAndOfAForest) {
  make_plan();
  EXPECT_THAT(run("export csv p.json").out, StartsWith("task,kind,launch,kernel,"));
  EXPECT_THAT(
      run("export csv p.json --table nodes").out,
      StartsWith("node,label,parent,depth,tokens,tokens_before,requests,kv_bytes,saved_bytes,tasks,tokens_read\n0,"));
  EXPECT_THAT(run("export csv p.json --table requests").out, HasSubstr(",done_us\n0,0,0,"));
  ASSERT_EQ(run("trace gen --tree '1,4|64,8' -o f.json").code, 0);
  EXPECT_THAT(run("export csv f.json").out, StartsWith("node,label,"));
  EXPECT_THAT(run("export csv f.json --table requests").out, HasSubstr("private_tokens\n"));
}

TEST_F(Export, WrongUseIsOneSentenceAndWritesNothing) {
  make_plan();
  write("two.jsonl",
        "{\"parent\": [-1], \"tokens\": [5], \"leaf\": [0]}\n{\"parent\": [-1], \"tokens\": [6], \"leaf\": [0]}\n");
  write("bad.json", R"({"schema": "device/1", "name": "x"})");
  write("newer.json", R"({"schema": "plan/2"})");
  write("empty.jsonl", R"({"parent": [], "tokens": [], "leaf": []})");
  const std::size_t before = files();
  const struct {
    const char* arguments;
    int code;
    const char* says;
  } cases[] = {
      {"export svgg p.json -o out", 2, "did you mean 'svg'"},
      {"export svg p.json --theme darc -o out", 2, "did you mean 'dark'"},
      {"export svg p.json --table nodes -o out", 2, "--table belongs to export csv"},
      {"export csv p.json --table tusks -o out", 2, "did you mean 'tasks'"},
      {"export csv two.jsonl --snapshot 0 --table tasks -o out", 2, "table of a forest"},
      {"export svg two.jsonl -o out", 2, "pick one with --snapshot"},
      {"export svg absent.json -o out", 3, "absent.json"},
      {"export svg bad.json -o out", 3, "bad.json"},
      {"export svg newer.json -o out", 3, "plan/1"},
      {"export svg empty.jsonl -o out", 3, "at least one request"},
      {"export dot two.jsonl -o out", 3, "plan/1"},
      {"export svg p.json -o no/such/folder/out.svg", 3, "no/such/folder/out.svg"},
  };
  for (const auto& c : cases) {
    const Result result = run(c.arguments);
    EXPECT_EQ(result.code, c.code) << c.arguments << "\n" << result.err;
    EXPECT_THAT(result.err, HasSubstr(c.says)) << c.arguments;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_EQ(result.out, "") << c.arguments;
    EXPECT_EQ(files(), before) << c.arguments;
  }
}

}  // namespace
}  // namespace espalier::apps
