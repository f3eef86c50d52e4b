/* Invitations as people paste them: the text as it is, and the same bytes as what an invitation encodes, with a
 * checksum that fits, so that what lies behind the checksum is reached too. */
#include "config.h"

#include "daemon/members/invitation.h"
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void decode(const char *token) {
	char err[300] = "";
	struct invite i, back;
	if (invite_decode(&i, token, err, sizeof err) != 0) {
		if (!err[0])
			abort();
		return;
	}
	/* what was understood says the same when it is written again */
	char *again = invite_encode(&i);
	if (!again || invite_decode(&back, again, err, sizeof err) != 0 || memcmp(&i, &back, sizeof i) != 0)
		abort();
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	char token[4096];
	uint8_t whole[1500], hash[SHA256_DIGEST_LENGTH];
	if (len > 1400)
		return 0;
	memcpy(token, data, len);
	token[len] = 0;
	decode(token);
	memcpy(whole, data, len);
	SHA256(data, len, hash);
	memcpy(whole + len, hash, 4);
	memcpy(token, "caravan1-", 9);
	EVP_EncodeBlock((unsigned char *)token + 9, whole, (int)len + 4);
	for (char *c = token + 9; *c; c++)
		*c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
	token[strcspn(token, "=")] = 0;
	decode(token);
	return 0;
}
