/**
 * The numbers that follow the length in the first message of a client: the protocol version, or the code of a request
 * (PostgreSQL documentation, "Message Formats": StartupMessage, SSLRequest, GSSENCRequest, CancelRequest).
 */
export const startupCode = {
  protocol3: 196_608,
  cancelRequest: 80_877_102,
  sslRequest: 80_877_103,
  gssRequest: 80_877_104,
};
