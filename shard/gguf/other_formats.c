/* other_formats: recognises files that are not GGUF by their first bytes, and says what to do about them.  Such files come from
 * failed downloads, and from years when models had other formats. */
#include "shard/gguf/gguf_internal.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define CONVERT "convert the model to GGUF first (convert_hf_to_gguf.py of llama.cpp), or get it as GGUF"
#define OLD "get the model as GGUF, or convert it (convert_llama_ggml_to_gguf.py of llama.cpp)"
#define PAGE "it is a web page, which the site sent instead of the model: log in there, or take another link"
#define UNPACK "it is compressed: unpack it first"

#define LOOK 4096u /* bytes that are examined */

/* Magic numbers of other files; in the last group, case is ignored. */
static const struct {
	const char *begin;
	size_t len;
	bool text; /* white space may come first, and case is ignored */
	const char *what;
} others[] = {
        {"version https://git-lfs", 23, true,
                "it is a Git LFS pointer, not the file itself: fetch that with git lfs pull"},
        {"<!doctype", 9, true, PAGE},
        {"<html", 5, true, PAGE},
        {"<?xml", 5, true, PAGE},
        {"<head", 5, true, PAGE},
        {"lmgg", 4, false, "it is a GGML file, a format that was abandoned in 2023: " OLD},
        {"fmgg", 4, false, "it is a GGMF file, a format that was abandoned in 2023: " OLD},
        {"tjgg", 4, false, "it is a GGJT file, a format that was abandoned in 2023: " OLD},
        {"algg", 4, false, "it is a LoRA adapter in an old format, which Caravan does not apply"},
        {"PK\3\4", 4, false, "it is a ZIP archive, as PyTorch stores models: " CONVERT},
        {"\x80\2}", 3, false, "it is a Python pickle, as PyTorch stored models: " CONVERT},
        {"\x1f\x8b", 2, false, UNPACK},
        {"BZh", 3, false, UNPACK},
        {"\xfd"
         "7zXZ",
                5, false, UNPACK},
        {"7z\xbc\xaf", 4, false, UNPACK},
        {"\x28\xb5\x2f\xfd", 4, false, UNPACK},
};

static bool gguf_begins_with(const uint8_t *p, size_t size, const char *begin, size_t len, bool text) {
	size_t at = 0;
	if (text && size >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
		at = 3;
	while (text && at < size && (p[at] == ' ' || (p[at] >= '\t' && p[at] <= '\r')))
		at++;
	if (size - at < len)
		return false;
	return text ? strncasecmp((const char *)p + at, begin, len) == 0 : memcmp(p + at, begin, len) == 0;
}

/* A 64-bit length, followed by that many bytes of JSON. */
static bool gguf_is_safetensors(const uint8_t *p, size_t have, uint64_t size) {
	uint64_t len;
	if (have < 10)
		return false;
	memcpy(&len, p, sizeof len);
	return p[8] == '{' && len >= 2 && len <= size - 8;
}

static bool gguf_is_text(const uint8_t *p, size_t size) {
	for (size_t i = 0; i < size; i++)
		if (p[i] < 0x20 && p[i] != '\n' && p[i] != '\r' && p[i] != '\t')
			return false;
	return true;
}

static bool gguf_is_zero(const uint8_t *p, size_t size) {
	for (size_t i = 0; i < size; i++)
		if (p[i])
			return false;
	return true;
}

void gguf_say_other(const struct gguf_part *part, char *err, size_t errlen) {
	uint8_t p[LOOK];
	ssize_t n = pread(part->fd, p, sizeof p, 0);
	size_t have = n > 0 ? (size_t)n : 0;
	const char *what = NULL;
	char shown[48], text[128];
	for (size_t i = 0; !what && i < sizeof others / sizeof *others; i++)
		if (gguf_begins_with(p, have, others[i].begin, others[i].len, others[i].text))
			what = others[i].what;
	if (!what && gguf_is_safetensors(p, have, part->size))
		what = "it is a safetensors file: " CONVERT;
	if (!what && gguf_is_zero(p, have))
		what = "it begins with zeros; is the download complete?";
	if (!what && gguf_is_text(p, have)) {
		size_t k = 0;
		for (; k < have && k < sizeof shown - 1 && p[k] >= 0x20; k++)
			shown[k] = p[k] < 0x7f ? (char)p[k] : '?';
		shown[k] = '\0';
		snprintf(text, sizeof text, "it is a text" GGUF_QUOTES "%s\"", shown);
		what = text;
	}
	snprintf(err, errlen, "%s: not a GGUF file%s%s", part->name, what ? ": " : "", what ? what : "");
}
